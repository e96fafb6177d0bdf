"""How much better one candidate is than another, by what the budget asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fewbits.measurement.interval import speedup
from fewbits.measurement.records import Measurement, Timing
from fewbits.selection.records import Budget

T = TypeVar("T")


@dataclass(frozen=True)
class Gain:
    """How many times better, as a ratio above 1, with its interval."""

    low: float
    median: float
    high: float


def gain(base: Measurement, other: Measurement, budget: Budget, via: Measurement | None = None) -> Gain:
    """How many times better ``other`` is than ``base``: paired ratios of the rounds both took part in.

    Args:
        via: who both are held against where they share no round: the ratio of their ratios, its interval as wide
            as both together allow.

    Raises:
        ValueError: they share no round, nor both one with ``via``.
    """
    if budget.objective == "size":
        ratio = base.size_bytes / other.size_bytes
        return Gain(ratio, ratio, ratio)
    if via is not None and not set(base.timing.numbers) & set(other.timing.numbers):
        one, two = gain(via, base, budget), gain(via, other, budget)
        return Gain(two.low / one.high, two.median / one.median, two.high / one.low)
    return Gain(*speedup(*_paired(base.timing, other.timing, budget), budget.confidence))


def fastest(timings: Mapping[str, Timing], budget: Budget) -> str:
    """The quickest of these in the mode that decides, by the median of the rounds that all took part in."""
    common = sorted(set.intersection(*(set(timing.numbers) for timing in timings.values())))
    return min(timings, key=lambda name: (float(np.median(_costs(timings[name], common, budget))), name))


def unbeaten(names: Sequence[T], gain: Callable[[T, T], Gain]) -> list[T]:
    """Those that none of the others is better than for certain; ``gain(a, b)`` is how much better b is than a."""
    return [one for one in names if not any(gain(one, other).low > 1.0 for other in names if other is not one)]


def _paired(one: Timing, other: Timing, budget: Budget) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    common = sorted(set(one.numbers) & set(other.numbers))
    return _costs(one, common, budget), _costs(other, common, budget)


def _costs(timing: Timing, rounds: Sequence[int], budget: Budget) -> NDArray[np.float64]:
    """Of these rounds, the time a run took, or its share of a second with all slots busy."""
    at = [timing.numbers.index(number) for number in rounds]
    return timing.round_ms[at] if budget.mode == "latency" else 1.0 / timing.round_fps[at]
