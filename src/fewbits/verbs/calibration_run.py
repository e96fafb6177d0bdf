"""The engines' part of ``calibrate``: one pass over the samples, and the variants tried on an engine that can."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import onnx_ir as ir

from fewbits.calibration.gather import gather
from fewbits.calibration.statistics import Statistics
from fewbits.data import Dataset, Sample
from fewbits.engines import TRIALS, Engine, Options
from fewbits.errors import EngineError
from fewbits.progress import Progress
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.truth import Truth
from fewbits.quantization.tune import Bench, Tuned, tune
from fewbits.verbs.standard import Standard


@dataclass
class CalibrationRun:
    """One pass over the samples, and the bench that variants are tried on."""

    model: ir.Model
    names: Sequence[str]
    dataset: Dataset
    engines: Sequence[Engine]
    options: Options
    progress: Progress
    standard: Future[Standard]
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._runner = self.engines[0]
        self._bench_options = Options(threads=self.options.threads)
        self._truth = Truth(self.model, TRIALS, self._bench_options)

    def collect(self, keep: int) -> Statistics:
        """Statistics from the first engine that runs the model and computes what it says.

        Raises:
            EngineError: none does.
        """
        failures: list[EngineError] = []
        for engine in self.engines:
            self._runner = engine
            self.samples.clear()
            try:
                found = self._watch(self.model, keep)
            except EngineError as error:
                failures.append(error)
                continue
            if engine.name not in self.standard.result().out:
                return found
        raise failures[0] if failures else EngineError("no engine here computes what the model says")

    def tune(self, known: Statistics, recipe: Recipe, target: Engine) -> Tuned:
        """Settle the recipe on the first engine that runs its variants.

        Raises:
            EngineError: none does.
        """
        failures: list[EngineError] = []
        for runner in self._usable_engines():
            try:
                return tune(self.model, known, recipe, target, self._bench(runner))
            except EngineError as error:
                failures.append(error)
        raise failures[0]

    def _bench(self, runner: Engine) -> Bench:
        truth = self._truth if runner is TRIALS else Truth(self.model, runner, self._bench_options)
        return Bench(runner, self._bench_options, self.samples, self._watch, self.progress, truth)

    def fast_engine(self) -> Engine:
        """The engine that loads quickest, of those that compute what the model says."""
        return self._usable_engines()[0]

    def _usable_engines(self) -> list[Engine]:
        out = self.standard.result().out
        return [engine for engine in dict.fromkeys((TRIALS, *self.engines)) if engine.name not in out] or [TRIALS]

    def _watch(self, subject: ir.Model, keep: int = 0) -> Statistics:
        return gather(
            subject,
            self.names,
            self.dataset,
            self._runner,
            self.options,
            self.progress,
            self.samples,
            keep,
            self._truth.begin,
        )
