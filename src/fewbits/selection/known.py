"""What is known of each subject so far: the record that all steps of a trial fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fewbits.engines import Mode
from fewbits.graph.files import file_bytes
from fewbits.measurement.evaluate import Evaluation
from fewbits.measurement.records import Memory, Subject, Timing
from fewbits.progress import Progress
from fewbits.selection.journal import Journal

MODES: tuple[Mode, ...] = ("latency", "throughput")


@dataclass
class Known:
    """Everything found out so far; what is finished stands in the journal as well.

    Args:
        failures: those that are out, and why.
        withheld: those whose other mode (the one that does not decide) computes something else, and how that
            shows: the speed of that mode is not quoted.
        evidence: of each (subject, mode) on the first samples of the test data.
        differing: the positions of the samples answered otherwise than by the reference.
        reached: the position in the test data up to which that evidence goes.
        rounds: round by round of the clock, who took part and what it took: ``samples`` and ``ms`` at batch 1, ``fps``,
            or those of one mode only.
    """

    journal: Journal
    progress: Progress
    subjects: dict[str, Subject] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    evidence: dict[tuple[str, Mode], Evaluation] = field(default_factory=dict)
    differing: dict[tuple[str, Mode], list[int]] = field(default_factory=dict)
    reached: dict[tuple[str, Mode], int] = field(default_factory=dict)
    rounds: list[Mapping[str, Any]] = field(default_factory=list)
    executed: dict[str, dict[str, float]] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def add(self, subject: Subject) -> None:
        """Take a subject in, with what an earlier run found to speak against it."""
        self.subjects[subject.name] = subject
        why = self.journal.get("failed", subject.name)
        if why is not None:
            self.failures[subject.name] = why

    def fail(self, name: str, why: str) -> None:
        """Take a subject out for good."""
        self.failures[name] = why
        self.journal.put("failed", name, why)

    def alive(self) -> list[str]:
        """The subjects that are still in."""
        return [name for name in self.subjects if name not in self.failures]

    def size_bytes(self, name: str) -> int:
        """The size of its file and what lies beside it."""
        if name not in self._sizes:
            self._sizes[name] = file_bytes(self.subjects[name].path)
        return self._sizes[name]

    def timing(self, name: str) -> Timing:
        """Speed from all rounds the subject took part in."""
        mine = [(index, found[name]) for index, found in enumerate(self.rounds) if name in found]
        return Timing(
            np.array([ms for _, turn in mine for ms in turn.get("samples", ())]),
            np.array([turn.get("ms", np.nan) for _, turn in mine]),
            np.array([turn.get("fps", np.nan) for _, turn in mine]),
            tuple(index for index, _ in mine),
        )

    def settings(self, name: str) -> dict[str, dict[str, str]]:
        """The engine's own words for how it was compiled, by mode."""
        found = {mode: self.journal.get("settings", f"{name} {mode}") for mode in MODES}
        return {mode: settings for mode, settings in found.items() if settings is not None}
