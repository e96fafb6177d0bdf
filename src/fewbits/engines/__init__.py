"""Engines: each a thin adapter that translates names, runs and returns."""

from __future__ import annotations

from fewbits.engines.base import Arrays, Engine, Mode, OpTime, Options, Profile, Session
from fewbits.engines.capability import Capability
from fewbits.engines.onnxruntime import OnnxRuntime
from fewbits.engines.openvino import OpenVino
from fewbits.engines.reference import Reference
from fewbits.errors import InputError

ENGINES: dict[str, Engine] = {"openvino": OpenVino(), "onnxruntime": OnnxRuntime()}
ORACLE: Engine = Reference()
# Variants of a model are compared on the engine that loads one quickest. Where engines differ on the same quantized
# model they differ by less than the quantization itself (docs/decisions/005).
TRIALS: Engine = ENGINES["onnxruntime"]


def named(asked: str) -> tuple[Engine, ...]:
    """The engines behind ``--engine``: the one of that name, or ``all``.

    Raises:
        InputError: there is no such engine.
    """
    if asked == "all":
        return tuple(ENGINES.values())
    if asked not in ENGINES:
        raise InputError(f"unknown engine '{asked}'", where="--engine", fix=f"one of all, {', '.join(ENGINES)}")
    return (ENGINES[asked],)


def having(asked: str, device: str) -> tuple[Engine, ...]:
    """Of the engines behind ``--engine`` those that have this device here.

    Raises:
        InputError: there is no such engine, or none has the device; the fix lists what there is.
    """
    engines = named(asked)
    found = tuple(engine for engine in engines if engine.has(device))
    if not found:
        who = f"{engines[0].name} has no device" if len(engines) == 1 else "no engine has a device"
        there = "; ".join(f"{engine.name}: {', '.join(engine.devices())}" for engine in engines)
        raise InputError(f"{who} {device} here", where="--device", fix=f"there is {there}")
    return found


__all__ = [
    "ENGINES",
    "ORACLE",
    "TRIALS",
    "Arrays",
    "Capability",
    "Engine",
    "Mode",
    "OpTime",
    "Options",
    "Profile",
    "Session",
    "having",
    "named",
]
