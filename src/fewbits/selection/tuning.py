"""Calibration for all engines of a job: one pass over the samples, one settled recipe an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from fewbits.calibration.gather import gather
from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample, first, stream
from fewbits.engines import Engine, Options
from fewbits.progress import Progress
from fewbits.quantization.corrections import CORRECTION_SAMPLES
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.truth import Truth
from fewbits.quantization.tune import Bench, Tuned, samples_needed, tune
from fewbits.selection.job import Job
from fewbits.selection.journal import Journal


@dataclass(frozen=True)
class Tuning:
    """The recipes settled, by engine, and the bench they were settled on."""

    job: Job
    tuned: Mapping[str, Tuned]
    bench: Bench

    def more_samples(self) -> Bench:
        """The same bench with as many samples as learning to round looks at."""
        if len(self.bench.samples) >= CORRECTION_SAMPLES:
            return self.bench
        return replace(self.bench, samples=first(stream(self.job.calibration, workers=2), CORRECTION_SAMPLES))


def calibrate(job: Job, needed: Sequence[Engine], journal: Journal, progress: Progress) -> Tuning | None:
    """Settle the recipe of each engine whose INT8 is wanted; None where that is none.

    Raises:
        DataError: too many samples cannot be read, or a value was never finite.
        EngineError: the first engine cannot run the model.
    """
    if not needed:
        return None
    path = job.folder / "statistics.npz"
    names = values_to_watch(job.model, job.recipe, [engine.capability for engine in needed])
    samples: list[Sample] = []
    options = Options(threads=job.threads)
    truth = Truth(job.model, job.trials, options)

    def watch(model: ir.Model, keep: int = 0) -> Statistics:
        return gather(model, names, job.calibration, needed[0], job.options, progress, samples, keep, truth.begin)

    if journal.get("statistics", "done") and path.is_file():
        statistics = Statistics.load(path)
        samples = first(stream(job.calibration, workers=2), samples_needed(job.recipe))
    else:
        statistics = watch(job.model, samples_needed(job.recipe))
        statistics.save(path)
        journal.put("statistics", "done", True)
    bench = Bench(job.trials, options, samples, watch, progress, truth)
    return Tuning(job, {engine.name: _tune(job, engine, statistics, bench, journal) for engine in needed}, bench)


def _tune(job: Job, engine: Engine, statistics: Statistics, bench: Bench, journal: Journal) -> Tuned:
    """The recipe settled for one engine; what was decided is journalled, a resumed run only carries it out again."""
    known = journal.get("tuned", engine.name)
    if known is not None:
        recipe = replace(job.recipe, method=known["method"], corrections=tuple(known["corrections"]))
        return replace(tune(job.model, statistics, recipe, engine, bench), sqnr_db=known["sqnr_db"])
    tuned = tune(job.model, statistics, job.recipe, engine, bench)
    content = {
        "method": tuned.recipe.method,
        "corrections": list(tuned.recipe.corrections),
        "sqnr_db": dict(tuned.sqnr_db),
    }
    journal.put("tuned", engine.name, content)
    return tuned
