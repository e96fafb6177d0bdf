"""The main job: build, calibrate, measure every candidate, decide, and leave the model and the reasons."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping

from fewbits.data import Store
from fewbits.devices.host import detect
from fewbits.devices.lookup import impossible
from fewbits.engines import having
from fewbits.files import make_folder, output_error, whole_file, write_text
from fewbits.progress import Progress
from fewbits.selection.build import Built, Yard
from fewbits.selection.candidates import candidates
from fewbits.selection.decide import decide, why_not
from fewbits.selection.enough import too_few
from fewbits.selection.job import Job
from fewbits.selection.journal import MODEL, Journal
from fewbits.selection.outcomes import outcomes_of
from fewbits.selection.preflight import preflight
from fewbits.selection.records import Decision, Failed
from fewbits.selection.search import extend
from fewbits.selection.trial import Trial
from fewbits.selection.tuning import calibrate


def run(job: Job, progress: Progress) -> Decision:
    """Do the main job; see ``fewbits.choose`` for what a person gets.

    Raises:
        InputError: something asked for does not exist, or the results cannot be written.
        EngineError: FP32 runs on none of the engines.
    """
    start = time.monotonic()
    asked, host = having(job.engine, job.device), detect()
    wanted, refused = candidates(asked, job.formats, job.device, job.recipe, impossible(job.device, host))
    failed = [
        Failed(candidate, job.lacking[candidate.engine]) for candidate in wanted if candidate.engine in job.lacking
    ]
    wanted = [candidate for candidate in wanted if candidate.engine not in job.lacking]
    make_folder(job.folder)
    journal = Journal(job.folder, job.fingerprint(asked), resume=job.resume)
    if few := too_few(job.model, job.metric, len(job.test), job.budget):
        progress.warn(few)
    keep = preflight(job.model, job.calibration, job.formats, journal, progress)
    quantizing = [e for e in asked if any(c.engine == e.name and c.recipe is not None for c in wanted)]
    tuning = calibrate(job, quantizing, journal, progress)
    yard = Yard(job, journal, tuning.tuned if tuning else {}, keep)
    for index, candidate in enumerate(wanted):
        progress.step("building", index, len(wanted))
        yard.build(candidate)
    spent = journal.get("time", "spent") or 0.0
    trial = _trial(job, yard.built, journal, progress, start - spent)
    try:
        trial.weigh()
        trial.settle(job.original, job.given)
        trial.measure()
        found = extend(yard, trial, tuning, progress) if tuning else {}
        trial.measure()
        trial.weigh()
        trial.compare_modes()
        trial.look_inside()
    finally:
        trial.close()
    if len(trial.data.bad):
        progress.warn(trial.data.bad.sentence("test"))
    if short := trial.short():
        progress.warn(f"the time budget left time for {short} of {len(job.test)} test samples")
    if journal.added:
        journal.put("time", "spent", spent + time.monotonic() - start)
    outcomes = [*outcomes_of(trial, yard.built, refused), *failed]
    verdict = decide(outcomes, job.budget)
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
        files=_deliver(job, verdict.chosen, yard.built),
        warnings=tuple(progress.warnings),
        versions={engine.name: engine.version for engine in asked},
        groups=found,
        differing=trial.differing(verdict.chosen) if verdict.chosen else None,
    )


def _trial(job: Job, built: Mapping[str, Built], journal: Journal, progress: Progress, start: float) -> Trial:
    return Trial(
        [b.subject(job) for b in built.values()],
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
