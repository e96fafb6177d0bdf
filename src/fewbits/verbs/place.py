"""Where a verb is to run its models: the device in the engines' words and the engines that have it here.

This is the legality step of every verb, taken before anything is read or run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewbits.devices.host import detect
from fewbits.devices.lookup import canonical, every, find, impossible, named
from fewbits.devices.records import Device
from fewbits.engines import Engine, having
from fewbits.errors import InputError
from fewbits.quantization.recipe import weight_bits
from fewbits.selection.candidates import check_known
from fewbits.selection.records import FORMATS, Budget


@dataclass(frozen=True)
class Place:
    """A device, the engines that have it (at least one), and settings to pass through to the engine."""

    device: str
    engines: tuple[Engine, ...]
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def weight_bits(self) -> int:
        """Bits of INT8 weights: this host's instructions only count where its processor does the work."""
        return weight_bits(detect()) if any(name in self.device for name in ("CPU", "AUTO")) else 8


def place(engine: str, device: str, engine_options: Sequence[str] = ()) -> Place:
    """Where to run.

    Args:
        device: in any case, by any of its names.
        engine_options: each as ``KEY=VALUE``, for one engine.

    Raises:
        InputError: no engine here has the device, no current release runs it, or a setting is none.
    """
    host, name = detect(), canonical(device)
    known = find(device, host)
    if known is not None and known.retired:
        fix = f"fewbits choose --device {known.name} --emulate tries its accuracy here"
        raise InputError(
            f"{known.name} cannot be used here: {known.runs_on}",
            where="--device",
            fix=fix if known.fp16_only else "name a device that is here, such as CPU",
        )
    found = having(engine, name)
    return Place(name, found, _settings(engine_options, found, name))


def emulated(device: str, formats: Sequence[str], budget: Budget) -> Device:
    """The device that ``--emulate`` stands in for.

    Raises:
        InputError: it does not exist, takes more than FP16, takes none of the formats asked for, or speed is asked for.
    """
    host = detect()
    known = named(device, host)
    if not known.fp16_only:
        raise InputError(
            f"{known.name} takes more than FP16, and only FP16 is emulated",
            where="--emulate",
            fix=f"leave it out, or name one of {', '.join(d.name for d in every(host) if d.fp16_only)}",
        )
    check_formats(known.name, formats)
    # Latency is the default, so nobody may have asked for it; the other two were said.
    if budget.max_latency_ms is not None or budget.objective == "throughput":
        raise InputError(
            f"the speed on {known.name} is unknown, so it cannot decide",
            where="--max-latency-ms" if budget.max_latency_ms is not None else "--objective",
            fix="leave it out, or --objective size",
        )
    return known


def check_formats(device: str, formats: Sequence[str]) -> None:
    """Raise ``InputError`` where a format is none, or the device can run none of those asked for, with the reason."""
    check_known(formats)
    never = impossible(device, detect())
    never |= {"mixed": never.get("int8") or never["bf16"]} if never.keys() & {"int8", "bf16"} else {}
    if formats and all(name in never for name in formats):
        raise InputError(
            f"{formats[0]} is impossible on {never[formats[0]]}",
            where="--formats",
            fix=f"ask for {next(f for f in FORMATS if f not in never)}",
        )


def _settings(texts: Sequence[str], engines: Sequence[Engine], device: str) -> tuple[tuple[str, str], ...]:
    if not texts:
        return ()
    if len(engines) > 1:
        names = " or ".join(engine.name for engine in engines)
        raise InputError(
            "settings belong to one engine, and several are asked for", where="--engine-option", fix=f"--engine {names}"
        )
    found: dict[str, str] = {}
    for text in texts:
        key, is_one, value = text.partition("=")
        if not is_one or not key.strip():
            raise InputError(f"'{text}' is no setting", where="--engine-option", fix="write KEY=VALUE")
        found[key.strip()] = value.strip()
    engines[0].check_extra(device, found)
    return tuple(found.items())
