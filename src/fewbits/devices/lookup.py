"""Looking facts up: a device by any of its names, this host's processor, what is impossible and why."""

from __future__ import annotations

from collections.abc import Sequence

from fewbits.devices.accelerators import ACCELERATORS, RETIRED
from fewbits.devices.host import Host
from fewbits.devices.processors import PROCESSORS, UNKNOWN_PROCESSOR
from fewbits.devices.records import Device, Fact, Level
from fewbits.errors import InputError

FORMATS = ("fp32", "fp16", "bf16", "int8")
# OpenVINO's devices that hand the model to others.
VIRTUAL = ("AUTO", "HETERO", "MULTI")
_BEST: tuple[Level, ...] = ("native", "emulated", "storage", "no")
_VIRTUAL_TITLES = {
    "AUTO": "picks one of the devices here",
    "HETERO": "splits a model between devices",
    "MULTI": "spreads samples over devices",
}


def processor(host: Host) -> Device:
    """This host's processor: for each format the best that its instruction sets allow, said by the newest of them."""
    isa = frozenset(host.isa)
    rows = [row for row in PROCESSORS if row.needs <= isa]
    if not rows:
        return UNKNOWN_PROCESSOR
    best: list[Fact] = []
    for name in FORMATS:
        facts = [row.fact(name) for row in reversed(rows) if row.fact(name).needs <= isa]
        best.append(min(facts, key=lambda fact: _BEST.index(fact.level)))
    return Device("CPU", f"this host, {host.cpu}", tuple(best))


def every(host: Host) -> tuple[Device, ...]:
    """All devices: this host's processor, accelerators, virtual and retired devices, processors by instruction set."""
    here = processor(host)
    virtual = (
        Device(
            name,
            _VIRTUAL_TITLES[name],
            tuple(
                Fact(fact.format, fact.level, f"as the devices behind it; on this CPU: {fact.reason}")
                for fact in here.facts
            ),
        )
        for name in VIRTUAL
    )
    return (here, *ACCELERATORS, *virtual, *RETIRED, *PROCESSORS)


def canonical(device: str) -> str:
    """Upper case, and the engines' own name where people use another: ``ncs2`` → ``MYRIAD``, ``cuda`` → ``CUDA``."""
    text = device.strip().upper()
    return next((known.name for known in RETIRED if text in known.aliases), text)


def parts(device: str) -> tuple[str, ...]:
    """The devices behind a device string, without numbers: ``HETERO:GPU.1,CPU`` → GPU, CPU; ``CPU`` → CPU."""
    head, _, children = device.partition(":")
    names = [name.strip() for name in children.split(",") if name.strip()[:1] not in ("", "-")] or [head]
    return tuple(canonical(name.split(".")[0].split("(")[0]) for name in names)


def behind(device: str, have: Sequence[str]) -> tuple[str, ...]:
    """Of the devices an engine has those that do the work: AUTO:GPU,CPU → GPU, CPU; AUTO:-CPU → all but the CPU."""
    head, _, children = device.partition(":")
    if head not in VIRTUAL:
        return (device,)
    if not children:
        return tuple(have) if head == "AUTO" else ()
    named = [name.strip().split("(")[0] for name in children.split(",")]
    left_out = {name.removeprefix("-") for name in named if name.startswith("-")}
    wanted = [name for name in named if not name.startswith("-")]
    return tuple(wanted or (name for name in have if name not in left_out))


def find(device: str, host: Host) -> Device | None:
    """The device of that name, whatever the case; of several behind a string the retired one, else the first."""
    known = every(host)
    whole = canonical(device)
    exact = next((d for d in known if whole in (d.name.upper(), *d.aliases)), None)
    if exact is not None:
        return exact
    found = [d for part in parts(device) for d in known if part in (d.name.upper(), *d.aliases)]
    return next((d for d in found if d.retired), found[0] if found else None)


def named(device: str, host: Host, where: str = "--device") -> Device:
    """The device of that name.

    Raises:
        InputError: there is none; the fix lists all.
    """
    found = find(device, host)
    if found is None:
        names = ", ".join(d.name for d in every(host))
        raise InputError(f"unknown device '{device}'", where=where, fix=f"one of {names}")
    return found


def impossible(device: str, host: Host) -> dict[str, str]:
    """Format → why a device cannot run it; empty for a device nothing is known about."""
    found = find(device, host)
    if found is None:
        return {}
    return {fact.format: f"{found.name}: {fact.reason}" for fact in found.facts if fact.level == "no"}
