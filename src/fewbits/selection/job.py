"""What the main job is asked to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from fewbits.calibration.collect import fingerprint as model_fingerprint
from fewbits.data import Dataset
from fewbits.engines import TRIALS, Engine, Options
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from fewbits.measurement.metrics import Metric
from fewbits.measurement.records import Subject
from fewbits.quantization.recipe import Recipe
from fewbits.selection.records import FORMATS, Budget, Candidate

# What the entries of a journal hold; one that holds something else is not gone on with.
_ENTRIES = "3"


@dataclass(frozen=True)
class Job:
    """What is to be done: the model as read and as simplified, the data, the budget, and where results go.

    ``lacking`` says of engines why they do not run the model; ``trials`` is the engine that variants are compared on.
    """

    path: Path
    original: ir.Model
    model: ir.Model
    test: Dataset
    calibration: Dataset
    metric: Metric
    budget: Budget
    folder: Path
    engine: str = "all"
    device: str = "CPU"
    extra: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = FORMATS
    threads: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    time_budget_s: float | None = None
    resume: bool = False
    lacking: Mapping[str, str] = field(default_factory=dict)
    trials: Engine = TRIALS

    @property
    def given(self) -> Path | None:
        """The file that was given, untouched, where ONNX Runtime reads such files."""
        return self.path if identify(self.path) is Kind.ONNX and self.path.suffix.lower() == ".onnx" else None

    @property
    def options(self) -> Options:
        """How engines are to run its models, but for mode and precision."""
        return Options(self.device, threads=self.threads, extra=self.extra)

    def subject(self, candidate: Candidate, file: str) -> Subject:
        """What is measured of a candidate whose file, relative to the run's folder, is this."""
        path, made = self.folder / file, candidate
        return Subject(made.name, path, made.engine, made.precision, self.device, self.threads, self.extra)

    def fingerprint(self, asked: Sequence[Engine]) -> str:
        """Everything a journalled result depends on."""
        parts = [
            _ENTRIES,
            model_fingerprint(self.model),
            self.test.fingerprint(),
            self.calibration.fingerprint(),
            self.metric.name,
            self.recipe.fingerprint(),
            self.device,
            *[f"{key}={value}" for key, value in self.extra],
            str(self.threads),
            str(self.seed),
            ",".join(self.formats),
            self.trials.name,
            *sorted(self.lacking),
            *[f"{engine.name} {engine.version}" for engine in asked],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
