"""What is measured, and what measuring it gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fewbits.devices.host import Host
from fewbits.engines import Mode, Options

if TYPE_CHECKING:  # it brings SciPy, which the process that weighs a model would load for nothing
    from fewbits.measurement.interval import Drop


@dataclass(frozen=True)
class Subject:
    """One model file on one engine in one execution format.

    ``precision`` is what floating-point operators are asked to execute in: f32, bf16 or f16.
    """

    name: str
    path: Path
    engine: str
    precision: str = "f32"
    device: str = "CPU"
    threads: int | None = None
    extra: tuple[tuple[str, str], ...] = ()

    def options(self, mode: Mode) -> Options:
        """How the engine is to run it in latency or throughput mode."""
        return Options(self.device, mode, self.precision, self.threads, self.extra)


@dataclass(frozen=True)
class Timing:
    """Speed from interleaved rounds: in every round each candidate had its turn, in shuffled order.

    Args:
        samples_ms: every timed run at batch 1, f64[n]; warm-up runs are not among them.
        round_ms: the median of each round, f64[rounds]; rounds of candidates timed together are pairs.
        round_fps: runs per second with all slots busy, f64[rounds]. NaN, as in ``round_ms``, where that mode was not
            timed in a round.
        rounds: the numbers of these rounds, where not all candidates took part in all of them; None for 0, 1, 2, …
    """

    samples_ms: NDArray[np.float64]
    round_ms: NDArray[np.float64]
    round_fps: NDArray[np.float64]
    rounds: tuple[int, ...] | None = None

    @classmethod
    def unknown(cls) -> Timing:
        """No speed at all: of a model that only its device could have timed."""
        return cls(np.empty(0), np.empty(0), np.empty(0))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number of each round; candidates are compared on the rounds whose numbers both have."""
        return tuple(range(len(self.round_ms))) if self.rounds is None else self.rounds

    @property
    def latency_ms(self) -> dict[str, float]:
        """p50, p90, p99 over all timed runs, and their number; NaN where there are none."""
        if not self.samples_ms.size:
            return {"p50": np.nan, "p90": np.nan, "p99": np.nan, "n": 0}
        p50, p90, p99 = (float(v) for v in np.percentile(self.samples_ms, (50, 90, 99)))
        return {"p50": p50, "p90": p90, "p99": p99, "n": int(self.samples_ms.size)}

    def without(self, mode: Mode) -> Timing:
        """The same with one mode's figures blanked (NaN), for a mode that computes something else."""
        if mode == "throughput":
            return replace(self, round_fps=np.full_like(self.round_fps, np.nan))
        return replace(
            self, samples_ms=np.full_like(self.samples_ms, np.nan), round_ms=np.full_like(self.round_ms, np.nan)
        )

    @property
    def throughput_fps(self) -> float:
        """The median round; NaN where there is none."""
        known = self.round_fps[np.isfinite(self.round_fps)]
        return np.nan if not known.size else float(np.median(known))


@dataclass(frozen=True)
class Accuracy:
    """How right one configuration is on the test set, and how close to FP32.

    ``drop`` is None for the reference itself, ``agreement`` where the outputs are no classes.
    """

    metric: str
    score: float
    samples: int
    agreement: float | None = None
    drop: Drop | None = None


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process of its own: after loading the engine's library, and at most while running."""

    baseline_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Measurement:
    """All that was measured of one subject."""

    timing: Timing
    size_bytes: int
    memory: Memory | None = None
    executed: Mapping[str, float] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasuredModel:
    """One model on one engine; ``model`` is what was given, which may have been converted to ``subject.path``."""

    subject: Subject
    measurement: Measurement
    model: Path


@dataclass(frozen=True)
class Measurements:
    """All models, measured against each other in one process."""

    host: Host
    models: tuple[MeasuredModel, ...]
