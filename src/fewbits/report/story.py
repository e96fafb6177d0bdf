"""A run folder as one record: what was asked, what was decided, what a closer look showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from fewbits.devices.host import Host
from fewbits.engines import Mode
from fewbits.errors import InputError
from fewbits.report.unfinished import entries, stopped_after
from fewbits.selection.asked import Asked, read_asked
from fewbits.selection.closeup import read_closeup
from fewbits.selection.closeup_records import Closeup
from fewbits.selection.journal import NAME
from fewbits.selection.records import Budget

DECISION = "decision.json"


@dataclass(frozen=True)
class Entry:
    """One candidate as ``decision.json`` has it; shares, drops and accuracies are fractions.

    ``rounds`` are the numbers of the rounds it was timed in; None for 0, 1, 2, …
    """

    name: str
    engine: str
    formats: str
    status: Literal["measured", "refused", "failed", "unfinished"]
    reason: str = ""
    accuracy: float | None = None
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    agreement: float | None = None
    latency_ms: Mapping[str, float | None] | None = None
    throughput_fps: float | None = None
    size_bytes: int | None = None
    peak_rss_bytes: int | None = None
    executed: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    round_ms: tuple[float | None, ...] = ()
    round_fps: tuple[float | None, ...] = ()
    rounds: tuple[int, ...] | None = None
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def p50_ms(self) -> float | None:
        """The median latency."""
        return (self.latency_ms or {}).get("p50")

    def costs(self, mode: Mode) -> dict[int, float]:
        """Round → what a run took in it, in ms at batch 1 or as its share of a second with all slots busy."""
        values = self.round_ms if mode == "latency" else tuple(None if v is None else 1 / v for v in self.round_fps)
        numbers = range(len(values)) if self.rounds is None else self.rounds
        return {number: value for number, value in zip(numbers, values, strict=False) if value is not None}


@dataclass(frozen=True)
class Choice:
    """The decision as ``decision.json`` has it."""

    model: str
    metric: str
    budget: Budget
    host: Host
    candidates: tuple[Entry, ...]
    reference: str | None = None
    chosen: str | None = None
    reason: str = ""
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def named(self, name: str | None) -> Entry | None:
        """The candidate of that name."""
        return next((entry for entry in self.candidates if entry.name == name), None)


@dataclass(frozen=True)
class Story:
    """Everything a report tells; where ``finished`` is false the run was stopped, and this is what is there so far."""

    choice: Choice
    asked: Asked | None
    closeup: Closeup | None
    finished: bool = True


def read_story(folder: Path) -> Story:
    """Read a finished run, or a stopped one as far as it came.

    Raises:
        InputError: the folder holds no run, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), fix="name the folder that choose wrote with -o")
    asked = read_asked(folder)
    path = folder / DECISION
    if path.is_file():
        try:
            choice = TypeAdapter(Choice).validate_json(path.read_bytes())
        except (OSError, ValidationError, RecursionError) as error:
            raise InputError("is not the decision of a run", where=str(path), fix="run choose again") from error
        return Story(choice, asked, read_closeup(folder))
    if asked is None or not (folder / NAME).is_file():
        raise InputError("holds no run", where=str(folder), fix="name the folder that choose wrote with -o")
    found = [Entry(**entry) for entry in entries(folder, asked.metric)]
    reason = f"The run was stopped {stopped_after(folder)}; nothing is decided. It goes on with --resume."
    choice = Choice(
        asked.model, asked.metric, asked.budget, asked.host, tuple(found), reason=reason, versions=asked.versions
    )
    return Story(choice, asked, None, finished=False)
