"""The decision: a pure function of what was measured and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewbits.measurement.interval import Drop, samples_needed
from fewbits.measurement.records import Measurement
from fewbits.selection.gain import Gain, fastest, gain, unbeaten
from fewbits.selection.records import Budget, Measured, Outcome, Refused

# Among candidates whose speeds cannot be told apart the simplest format wins.
_SIMPLICITY = ("fp32", "fp16", "bf16", "int8", "mixed")
# Of the same format the smaller drop, unless it is behind by more than this in the median.
_ALIKE = 1.01


@dataclass(frozen=True)
class Verdict:
    """Who won, why, and why not each of the others."""

    reference: str
    chosen: str | None
    reason: str
    rejected: Mapping[str, str]


def reference_of(outcomes: Sequence[Outcome], budget: Budget) -> Measured | None:
    """The quickest FP32 candidate: what the others have to beat."""
    whole = {o.candidate.name: o for o in outcomes if isinstance(o, Measured) and o.candidate.format == "fp32"}
    return whole[fastest({n: o.measurement.timing for n, o in whole.items()}, budget)] if whole else None


def decide(outcomes: Sequence[Outcome], budget: Budget) -> Verdict:
    """The candidate that is best by the objective among those inside the budget.

    A candidate must beat the FP32 reference beyond the noise of their interleaved rounds; otherwise the
    reference stays. Candidates that cannot be told apart by speed: the simplest format; of the same format the
    quicker in the median, or, within 1 % of that, the one with the smaller drop.
    """
    rejected = {o.candidate.name: o.reason for o in outcomes if not isinstance(o, Measured)}
    measured = [o for o in outcomes if isinstance(o, Measured)]
    reference = reference_of(outcomes, budget)
    if reference is None:
        why = "FP32 could not be measured on any engine, so nothing can be compared"
        return Verdict("", None, why, rejected | {o.candidate.name: why for o in measured})

    def better(base: Measured, other: Measured) -> Gain:
        return gain(base.measurement, other.measurement, budget, via=reference.measurement)

    inside: list[Measured] = []
    for outcome in measured:
        if outcome is reference:
            continue
        problem = _problem(outcome, reference, better(reference, outcome), budget)
        if problem:
            rejected[outcome.candidate.name] = problem
        else:
            inside.append(outcome)
    if not inside:
        return _stay(reference, measured, rejected, budget)
    unclear = unbeaten(inside, better) or inside
    simplest = min(map(_format, unclear))
    alike = [o for o in unclear if _format(o) == simplest]
    best = max(better(reference, o).median for o in alike)
    winner = min((o for o in alike if better(reference, o).median * _ALIKE >= best), key=_drop)
    fit = {o.candidate.name for o in inside}
    for outcome in (o for o in measured if o is not winner and o is not reference):
        name, lead = outcome.candidate.name, better(outcome, winner)
        if name in fit or (lead.low > 1.0 and _unsettled(outcome, reference, budget)):
            rejected[name] = _second(outcome, winner, lead, budget)
    why = _why(winner, reference, better(reference, winner), budget)
    return Verdict(reference.candidate.name, winner.candidate.name, why, rejected)


def _format(outcome: Measured) -> int:
    return _SIMPLICITY.index(outcome.candidate.format)


def _drop(outcome: Measured) -> float:
    drop = outcome.measurement.accuracy.drop if outcome.measurement.accuracy else None
    return drop.estimate if drop else 0.0


def _problem(outcome: Measured, reference: Measured, gain: Gain, budget: Budget) -> str:
    """Why a candidate cannot be chosen; empty if it can."""
    accuracy = outcome.measurement.accuracy
    drop = accuracy.drop if accuracy else None
    if drop is None:
        return "its accuracy could not be measured"
    over = f"{change(drop)}, more than the {budget.max_drop * 100:g} allowed" if drop.estimate > budget.max_drop else ""
    if over and not _unsettled(outcome, reference, budget):
        return over
    if beyond := limit(outcome.measurement, budget):
        return beyond
    if (gain.low <= 1.0 or _only_smaller(outcome, budget)) and not limit(reference.measurement, budget):
        against = f"{reference.candidate.name}: {gain.median:.2f} times ({gain.low:.2f} to {gain.high:.2f})"
        if budget.objective == "size":
            return f"not smaller than {against}"
        return f"not faster than {against}"
    return over


def _unsettled(outcome: Measured, reference: Measured, budget: Budget) -> bool:
    """Whether it seems to lose too much, but was judged on a part of the samples only, which leave that open."""
    mine, theirs = outcome.measurement.accuracy, reference.measurement.accuracy
    if mine is None or mine.drop is None or theirs is None:
        return False
    return mine.samples < theirs.samples and mine.drop.low <= budget.max_drop < mine.drop.estimate


def _only_smaller(outcome: Measured, budget: Budget) -> bool:
    """Whether it executes as FP32 does, so that any gain in speed would be chance."""
    candidate = outcome.candidate
    return budget.objective != "size" and candidate.format == "fp16" and candidate.precision == "f32"


def limit(measurement: Measurement, budget: Budget) -> str:
    """Which limit of the budget it exceeds, in words; empty if none. Accuracy is not among them."""
    p50 = measurement.timing.latency_ms["p50"]
    if budget.max_latency_ms is not None and not p50 <= budget.max_latency_ms:
        return f"takes {p50:.2f} ms, more than the {budget.max_latency_ms:g} ms allowed"
    if budget.max_size_bytes is not None and measurement.size_bytes > budget.max_size_bytes:
        return f"is {measurement.size_bytes} bytes, more than the {budget.max_size_bytes} allowed"
    return ""


def _stay(reference: Measured, measured: Sequence[Measured], rejected: dict[str, str], budget: Budget) -> Verdict:
    name = reference.candidate.name
    if beyond := limit(reference.measurement, budget):
        rejected[name] = beyond
        return Verdict(name, None, f"nothing fits the budget: FP32 ({name}) {beyond}", rejected)
    others = len(measured) - 1
    reason = f"{name} stays: none of the {others} other measured candidates is both inside the budget and better"
    return Verdict(name, name, reason, rejected)


def _second(outcome: Measured, winner: Measured, gain: Gain, budget: Budget) -> str:
    name = winner.candidate.name
    ratio = f"{gain.median:.2f} times ({gain.low:.2f} to {gain.high:.2f})"
    if gain.low <= 1.0:
        why = "which was quicker in the median"
        if _format(winner) < _format(outcome):
            why = "which is the simpler format"
        elif gain.median < _ALIKE and _drop(winner) < _drop(outcome):
            why = "which loses less"
        return f"inside the budget; its speed cannot be told from {name}'s ({ratio}), {why}"
    word = "smaller" if budget.objective == "size" else "faster"
    accuracy = outcome.measurement.accuracy
    if accuracy and accuracy.drop and accuracy.drop.estimate > budget.max_drop:
        return f"{name} is {ratio} {word}; its drop was not pursued beyond {accuracy.samples} samples"
    return f"inside the budget, but {name} is {ratio} {word}"


def _why(winner: Measured, reference: Measured, gain: Gain, budget: Budget) -> str:
    word = {"latency": "as fast as", "throughput": "the throughput of", "size": "smaller than"}[budget.objective]
    at = {"latency": " at batch 1", "throughput": " with all cores busy", "size": ""}[budget.objective]
    spread = "" if budget.objective == "size" else f" ({gain.low:.2f} to {gain.high:.2f})"
    sentence = f"{winner.candidate.name} is {gain.median:.2f} times{spread} {word} {reference.candidate.name}{at}"
    drop = winner.measurement.accuracy.drop if winner.measurement.accuracy else None
    if drop is None:
        return sentence
    return f"{sentence} and {change(drop)}; {proof(drop, budget)}"


def change(drop: Drop) -> str:
    """The drop in words: ``loses 0.31 points (95% interval of the drop -0.54 to 1.16)``."""
    word = "gains" if drop.estimate < 0 else "loses"
    interval = f"{drop.confidence:.0%} interval of the drop {drop.low * 100:.2f} to {drop.high * 100:.2f}"
    return f"{word} {abs(drop.estimate) * 100:.2f} points ({interval})"


def proof(drop: Drop, budget: Budget) -> str:
    """Whether the samples show that the drop is inside the budget."""
    allowed = f"the {budget.max_drop * 100:g} allowed"
    if drop.high <= budget.max_drop:
        return f"proven inside {allowed}"
    needed = samples_needed(drop, budget.max_drop)
    more = f", about {needed} would prove it" if needed else ""
    return f"inside {allowed}, not proven: {drop.samples} samples do not exclude more{more}"


def why_not(outcome: Outcome, verdict: Verdict) -> str:
    """The sentence a report shows beside an outcome."""
    name = outcome.candidate.name
    if name == verdict.chosen:
        return verdict.reason
    if name in verdict.rejected:
        return verdict.rejected[name]
    if isinstance(outcome, Refused):
        return outcome.reason
    return "FP32, the reference" if name == verdict.reference else ""
