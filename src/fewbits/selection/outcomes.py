"""From what the trial found out to one outcome per candidate."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from fewbits.engines import ENGINES, Mode
from fewbits.graph.files import file_bytes
from fewbits.measurement.evaluate import MODES_DIFFER
from fewbits.measurement.interval import paired_drop
from fewbits.measurement.metrics import Agreement, Metric
from fewbits.measurement.records import Accuracy, Measurement
from fewbits.selection.build import Built
from fewbits.selection.decide import reference_of
from fewbits.selection.records import Budget, Failed, Measured, Outcome, Refused
from fewbits.selection.trial import Trial


def outcomes_of(
    trial: Trial,
    built: Mapping[str, Built],
    names: Sequence[str],
    refused: Sequence[Refused],
    metric: Metric,
    budget: Budget,
    device: str,
) -> list[Outcome]:
    """What became of each candidate; drops are against the best FP32 candidate."""
    assemble = functools.partial(_measured, trial, metric, budget, device)
    outcomes: list[Outcome] = list(refused)
    plain = [assemble(built[name], None) for name in names if name not in trial.failures]
    reference = reference_of(plain, budget)
    for name in names:
        if name in trial.failures:
            outcomes.append(Failed(built[name].candidate, trial.failures[name]))
        else:
            base = None if reference is None else reference.candidate.name
            outcomes.append(assemble(built[name], base))
    return outcomes


def _measured(
    trial: Trial, metric: Metric, budget: Budget, device: str, built: Built, reference: str | None
) -> Measured:
    """Put one candidate's results together; accuracy is that of the mode whose speed decides."""
    name = built.candidate.name
    mode = decisive_mode(budget)
    mine = trial.evidence[name, mode]
    drop = agreement = None
    if reference is not None and reference != name:
        theirs = trial.evidence[reference, mode].evidence
        drop = paired_drop(metric, theirs, mine.evidence, budget.confidence)
    if mine.agreement is not None:
        agreement = Agreement().score(mine.agreement)
    accuracy = Accuracy(metric.name, metric.score(mine.evidence), len(mine.evidence), agreement, drop)
    notes = []
    timing, other_mode = trial.timing[name], _other(mode)
    other_score = metric.score(trial.evidence[name, other_mode].evidence)
    if abs(other_score - accuracy.score) > MODES_DIFFER or (name, other_mode) in trial.withheld:
        timing = timing.without(other_mode)
        notes.append(
            f"in {other_mode} mode its {metric.name} is {other_score * 100:.2f}%, not "
            f"{accuracy.score * 100:.2f}%: that speed is withheld, do not deploy it so"
        )
    if built.candidate.format == "fp16" and built.candidate.precision == "f32":
        notes.append(f"half the file, FP32 execution: {ENGINES[built.candidate.engine].refuses('f16', device)}")
    subject = trial.subjects[name]
    measurement = Measurement(
        timing=timing,
        size_bytes=file_bytes(subject.path),
        memory=trial.memory.get(name),
        executed=trial.executed.get(name, {}),
        accuracy=accuracy,
        settings=trial.settings.get(name, {}),
        notes=tuple(notes),
    )
    return Measured(built.candidate, built.formats, measurement, (built.file,))


def decisive_mode(budget: Budget) -> Mode:
    """The mode whose speed decides, and whose accuracy is therefore the one quoted."""
    return "throughput" if budget.objective == "throughput" else "latency"


def _other(mode: Mode) -> Mode:
    return "throughput" if mode == "latency" else "latency"
