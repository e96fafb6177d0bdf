"""From what the trial found out to one outcome per candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fewbits.engines import ENGINES, Mode
from fewbits.measurement.interval import Drop
from fewbits.measurement.metrics import Agreement, Evidence
from fewbits.measurement.records import Accuracy, Measurement
from fewbits.selection.build import Built
from fewbits.selection.records import Failed, Measured, Outcome, Refused
from fewbits.selection.trial import Trial


def outcomes_of(
    trial: Trial,
    built: Mapping[str, Built],
    refused: Sequence[Refused],
) -> list[Outcome]:
    """What became of each candidate; drops are against the reference, on the samples both have seen."""
    failures = trial.known.failures
    outcomes: list[Outcome] = []
    for name, one in built.items():
        outcomes.append(Failed(one.candidate, failures[name]) if name in failures else _measured(trial, one))
    return [*outcomes, *refused]


def _measured(trial: Trial, built: Built) -> Measured:
    """Put one candidate's results together; accuracy is that of the mode whose speed decides."""
    name, known, candidate = built.candidate.name, trial.known, built.candidate
    mine = known.evidence[name, trial.mode]
    drop = None if name == trial.reference else trial.drop(name)
    accuracy = Accuracy(
        trial.metric.name,
        _score(trial, mine.evidence, drop),
        len(mine.evidence),
        None if mine.agreement is None else Agreement().score(mine.agreement),
        drop,
    )
    notes = []
    timing = known.timing(name)
    if name in known.withheld:
        other: Mode = "latency" if trial.mode == "throughput" else "throughput"
        timing = timing.without(other)
        notes.append(f"{known.withheld[name]}: that speed is withheld, do not deploy it so")
    if candidate.format == "fp16" and candidate.precision == "f32":
        notes.append(
            f"half the file, FP32 execution: {ENGINES[candidate.engine].refuses('f16', known.subjects[name].device)}"
        )
    if accuracy.samples < len(known.evidence[trial.reference, trial.mode].evidence):
        why = "" if trial.short() else ": more could not change the choice"
        notes.append(f"its accuracy is FP32's less the drop on the first {accuracy.samples} samples{why}")
    measurement = Measurement(
        timing=timing,
        size_bytes=known.size_bytes(name),
        memory=known.memory.get(name),
        executed=known.executed.get(name, {}),
        accuracy=accuracy,
        settings=known.settings(name),
        notes=tuple(notes),
    )
    return Measured(candidate, built.formats, measurement, (built.file,))


def _score(trial: Trial, evidence: Sequence[Evidence], drop: Drop | None) -> float:
    """The score; of a candidate that saw a part of the samples, that of the reference on all of them less the drop.

    The first samples may be easier or harder than the rest; what the two differ by there is a fair pair.
    """
    whole = trial.known.evidence[trial.reference, trial.mode].evidence
    if drop is None or len(evidence) >= len(whole):
        return trial.metric.score(evidence)
    return min(max(trial.metric.score(whole) - drop.estimate, 0.0), 1.0)
