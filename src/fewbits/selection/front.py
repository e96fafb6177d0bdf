"""The Pareto front: candidates that nothing beats in every respect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewbits.selection.records import Measured, Outcome


def pareto_front(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Names of the measured candidates that no other is at least as good as in all of drop, latency, throughput, size.

    Of candidates that are equal in all four, all stay. Medians and estimates count as they are: whether a small
    difference is one beyond the noise is for ``decide`` to say.
    """
    figures = {o.candidate.name: _figures(o) for o in outcomes if isinstance(o, Measured)}
    return tuple(name for name, mine in figures.items() if not any(_beats(other, mine) for other in figures.values()))


def _figures(outcome: Measured) -> tuple[float, ...]:
    """Drop, milliseconds, runs a second negated, bytes: smaller is better; what is not known counts as worst."""
    measurement = outcome.measurement
    drop = measurement.accuracy.drop if measurement.accuracy else None
    lost = 0.0 if drop is None else drop.estimate
    seen = (lost, measurement.timing.latency_ms["p50"], -measurement.timing.throughput_fps, measurement.size_bytes)
    unjudged = measurement.accuracy is None
    return tuple(math.inf if unjudged or math.isnan(figure) else float(figure) for figure in seen)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
