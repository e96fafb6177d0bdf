"""What is known about a device: for every number format a level, the sentence why, and whether it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fewbits.devices.host import Host

Level = Literal["native", "emulated", "storage", "no"]
MEANING: Mapping[Level, str] = {
    "native": "computed in this format",
    "emulated": "the result is right, computed in another format without a gain",
    "storage": "a file may hold it, computed in another format",
    "no": "impossible",
}


@dataclass(frozen=True)
class Fact:
    """One format on one device.

    ``measured`` holds only for what this project measured on its own hosts; all else is from documentation.
    ``needs`` are instruction sets without which a processor of this kind does not have the fact.
    """

    format: str
    level: Level
    reason: str
    measured: bool = False
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Device:
    """A device and its facts.

    Args:
        name: as ``--device`` takes it, or ``CPU`` and an instruction set.
        title: what it is, for people.
        facts: one per format, fp32, fp16, bf16 and int8 among them.
        aliases: other names people use for it.
        needs: the Linux flags that make a processor one of this kind; empty for other devices.
        last_release: the last OpenVINO release that runs it; None for current devices.
        runs_on: for a retired device, a sentence on what still runs it.
    """

    name: str
    title: str
    facts: tuple[Fact, ...]
    aliases: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    last_release: str | None = None
    runs_on: str = ""

    @property
    def retired(self) -> bool:
        """Whether no current release runs it."""
        return self.last_release is not None

    @property
    def fp16_only(self) -> bool:
        """Whether FP16 is the only one of the formats fewbits builds that it takes."""
        levels = {fact.format: fact.level for fact in self.facts}
        return levels["fp16"] == "native" and {levels[name] for name in ("fp32", "bf16", "int8")} == {"no"}

    def fact(self, format: str) -> Fact:
        """The fact about fp32, fp16, bf16 or int8."""
        return next(fact for fact in self.facts if fact.format == format)


@dataclass(frozen=True)
class DeviceTable:
    """What ``fewbits devices`` shows: this host, the devices, and what the installed engines find here.

    Args:
        devices: all of them, or the one asked for.
        asked: that one; None where all are shown.
        here: engine and version → the devices it has here.
    """

    host: Host
    devices: tuple[Device, ...]
    asked: Device | None = None
    here: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
