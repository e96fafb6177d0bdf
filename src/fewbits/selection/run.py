"""The main job: build, calibrate, measure every candidate, decide, and leave the model and the reasons."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from fewbits.calibration.collect import fingerprint
from fewbits.calibration.gather import gather
from fewbits.calibration.statistics import Statistics
from fewbits.data import Dataset, Sample, Store, first, stream
from fewbits.devices.host import detect
from fewbits.devices.lookup import impossible
from fewbits.engines import TRIALS, Engine, Options, having
from fewbits.files import make_folder, output_error, whole_file, write_text
from fewbits.measurement.metrics import Metric
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.tune import Bench, Tuned, samples_needed, tune
from fewbits.selection.build import Built, build
from fewbits.selection.candidates import candidates
from fewbits.selection.decide import decide, why_not
from fewbits.selection.enough import too_few
from fewbits.selection.journal import CANDIDATES, MODEL, Journal
from fewbits.selection.outcomes import outcomes_of
from fewbits.selection.preflight import preflight
from fewbits.selection.records import FORMATS, Budget, Candidate, Decision
from fewbits.selection.trial import Trial


@dataclass(frozen=True)
class Job:
    """What is to be done: the model as read and as simplified, the data, the budget, and where results go."""

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


def run(job: Job, progress: Progress) -> Decision:
    """Do the main job; see ``fewbits.choose`` for what a person gets.

    Raises:
        InputError: something asked for does not exist, or the results cannot be written.
        EngineError: FP32 runs on none of the engines.
    """
    start = time.monotonic()
    asked, host = having(job.engine, job.device), detect()
    wanted, refused = candidates(asked, job.formats, job.device, job.recipe, impossible(job.device, host))
    make_folder(job.folder)
    journal = Journal(job.folder, _fingerprint(job, asked), resume=job.resume)
    if few := too_few(job.model, job.metric, len(job.test), job.budget):
        progress.warn(few)
    keep = preflight(job.model, job.calibration, job.formats, journal, progress)
    tuned = _calibrate(job, asked, wanted, journal, progress)
    built = _build_all(job, wanted, tuned, keep, journal, progress)
    spent = journal.get("time", "spent") or 0.0
    trial = _try_all(job, built, journal, progress, start - spent)
    if journal.added:
        journal.put("time", "spent", spent + time.monotonic() - start)
    outcomes = outcomes_of(trial, built, [c.name for c in wanted], refused)
    verdict = decide(outcomes, job.budget)
    order = {name: i for i, name in enumerate(c.name for c in (*wanted, *(r.candidate for r in refused)))}
    outcomes = sorted(outcomes, key=lambda o: order[o.candidate.name])
    return Decision(
        model=str(job.path),
        metric=job.metric.name,
        budget=job.budget,
        host=host,
        reference=verdict.reference,
        chosen=verdict.chosen,
        reason=verdict.reason,
        rejected={o.candidate.name: why_not(o, verdict) for o in outcomes},
        outcomes=tuple(outcomes),
        seconds=time.monotonic() - start,
        files=_deliver(job, verdict.chosen, built),
        warnings=tuple(progress.warnings),
        versions={engine.name: engine.version for engine in asked},
    )


def _fingerprint(job: Job, asked: Sequence[Engine]) -> str:
    """Everything a journalled result depends on."""
    parts = [
        fingerprint(job.model),
        job.test.fingerprint(),
        job.calibration.fingerprint(),
        job.metric.name,
        job.recipe.fingerprint(),
        job.device,
        *[f"{key}={value}" for key, value in job.extra],
        str(job.threads),
        str(job.seed),
        ",".join(job.formats),
        *[f"{engine.name} {engine.version}" for engine in asked],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _calibrate(
    job: Job, asked: Sequence[Engine], wanted: Sequence[Candidate], journal: Journal, progress: Progress
) -> dict[str, Tuned]:
    """The settled recipe of each engine whose INT8 is wanted, all from statistics of one pass."""
    needed = [e for e in asked if any(c.engine == e.name and c.recipe is not None for c in wanted)]
    if not needed:
        return {}
    path = job.folder / "statistics.npz"
    options = Options(job.device, threads=job.threads, extra=job.extra)
    names = values_to_watch(job.model, job.recipe, [engine.capability for engine in needed])
    samples: list[Sample] = []

    def watch(model: ir.Model, keep: int = 0) -> Statistics:
        return gather(model, names, job.calibration, needed[0], options, progress, samples, keep)

    if journal.get("statistics", "done") and path.is_file():
        statistics = Statistics.load(path)
        samples = first(stream(job.calibration, workers=2), samples_needed(job.recipe))
    else:
        statistics = watch(job.model, samples_needed(job.recipe))
        statistics.save(path)
        journal.put("statistics", "done", True)
    bench = Bench(TRIALS, Options(threads=job.threads), samples, watch, progress)
    return {engine.name: _tune(job, engine, statistics, bench, journal) for engine in needed}


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


def _build_all(
    job: Job,
    wanted: Sequence[Candidate],
    tuned: dict[str, Tuned],
    keep: frozenset[str],
    journal: Journal,
    progress: Progress,
) -> dict[str, Built]:
    built = {}
    for index, candidate in enumerate(wanted):
        progress.step("building", index, len(wanted))
        built[candidate.name] = build(candidate, job.model, tuned, job.folder, journal, keep)
        if candidate.recipe is not None:
            recipe = tuned[candidate.engine].recipe
            write_text(job.folder / CANDIDATES / f"int8-{candidate.engine}.toml", recipe.to_toml())
    return built


def _try_all(job: Job, built: dict[str, Built], journal: Journal, progress: Progress, start: float) -> Trial:
    trial = Trial(
        [_subject(job, b) for b in built.values()],
        plain=[name for name, b in built.items() if b.candidate.format == "fp32"],
        stored=[name for name, b in built.items() if b.candidate.format == "fp16" and b.candidate.precision == "f32"],
        data=Store(job.test),
        metric=job.metric,
        budget=job.budget,
        journal=journal,
        progress=progress,
        seed=job.seed,
        judge_by=_part_of_time(job, start, 0.7),
        finish_by=_part_of_time(job, start, 0.9),
    )
    try:
        trial.weigh()
        trial.settle(job.original)
        trial.measure()
        trial.compare_modes()
        trial.look_inside()
    finally:
        trial.close()
    if len(trial.data.bad):
        progress.warn(trial.data.bad.sentence("test"))
    if short := trial.short():
        progress.warn(f"the time budget left time for {short} of {len(job.test)} test samples")
    return trial


def _subject(job: Job, built: Built) -> Subject:
    candidate = built.candidate
    file = job.folder / built.file
    return Subject(candidate.name, file, candidate.engine, candidate.precision, job.device, job.threads, job.extra)


def _part_of_time(job: Job, start: float, part: float) -> float:
    """When this part of the time budget is over, of which earlier runs in the folder have used their share."""
    return math.inf if job.time_budget_s is None else start + job.time_budget_s * part


def _deliver(job: Job, chosen: str | None, built: dict[str, Built]) -> tuple[str, ...]:
    """The chosen model under a name of its own, with the preprocessing that belongs to it."""
    target, steps = job.folder / MODEL, job.folder / "preprocess.toml"
    try:
        if chosen is None:
            for earlier in (target, steps):
                earlier.unlink(missing_ok=True)
            return ()
        source = job.folder / built[chosen].file
        files = [target.name]
        with whole_file(target) as scratch:
            shutil.copyfile(source, scratch)
        beside = source.with_name(f"{source.name}.data")
        if beside.is_file():
            with whole_file(job.folder / beside.name) as scratch:
                shutil.copyfile(beside, scratch)
            files.append(beside.name)
    except OSError as error:
        raise output_error(error, job.folder) from error
    if job.test.preprocess is not None:
        write_text(steps, job.test.preprocess.to_toml())
        files.append(steps.name)
    return tuple(files)
