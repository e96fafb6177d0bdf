"""What calibration saw of a value: the input of every range estimator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewbits.numerics.formats import IntegerFormat
from fewbits.numerics.histogram import Histogram


@dataclass(frozen=True)
class RangeEvidence:
    """Extremes and histogram of the finite values seen.

    Args:
        minimum: lowest finite value, in the unit of the tensor.
        maximum: highest finite value.
        histogram: of the same values.

    Raises:
        ValueError: the extremes are not finite or minimum > maximum (nothing finite was seen).
    """

    minimum: float
    maximum: float
    histogram: Histogram

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum) and self.minimum <= self.maximum):
            raise ValueError(f"no range: minimum {self.minimum}, maximum {self.maximum}")

    @classmethod
    def of(cls, values: ArrayLike, bins: int = 4096) -> RangeEvidence:
        """The evidence of one array. Raises ValueError if it holds no finite value."""
        histogram = Histogram.empty(bins)
        histogram.add(values)
        if not histogram.count:
            raise ValueError("no range: no finite value was seen")
        with np.errstate(over="ignore", under="ignore"):
            array = np.asarray(values, np.float32)
        finite = array[np.isfinite(array)]
        return cls(float(finite.min()), float(finite.max()), histogram)

    def sides(self, format: IntegerFormat, symmetric: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Counts outward from zero, (negative f64[n/2], positive f64[n/2]), without exact zeros.

        Element j holds the values whose distance from zero is j to j+1 bin widths. A symmetric range
        has one threshold, so both sides are added up as positive; an unsigned format with zero point 0
        holds no negative number, so these are left out.
        """
        half = self.histogram.counts.size // 2
        positive = self.histogram.counts[half:].astype(np.float64)
        positive[0] -= self.histogram.zeros
        negative = self.histogram.counts[:half][::-1].astype(np.float64)
        if not symmetric:
            return negative, positive
        return np.zeros(half), positive + negative if format.signed else positive

    def clip(self, low: float, high: float, format: IntegerFormat, symmetric: bool) -> tuple[float, float]:
        """The part of low..high that was seen, widened to contain zero.

        For a symmetric range pass ``-t, t``; the threshold is ``max(-low, high)`` of the answer.
        """
        floor = 0.0 if symmetric and not format.signed else min(self.minimum, 0.0)
        # Plus zero: -0.0 becomes 0.0, which prints better.
        return min(max(low, floor), 0.0) + 0.0, max(min(high, self.maximum), 0.0) + 0.0


def reach(mass: NDArray[np.float64], tail: float = 0.0) -> int:
    """The fewest bins outward from zero beyond which lie at most `tail` counts."""
    beyond = np.cumsum(mass[::-1])[::-1]
    return int(np.count_nonzero(beyond > tail))
