"""Choose the range with the least expected squared error.

Objective: ``argmin E[(x - Q(x))**2]`` over the ends of the range (Nagel et al. 2021, "A White Paper on
Neural Network Quantization", section 3.1; the split into clipping and rounding error is that of Banner
et al. 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment")::

    J(low, high) = sum_{x > high} (x - high)**2 + sum_{x < low} (low - x)**2          clipping
                 + sum_{inside, |x| >= D/2} D**2 / 12 + sum_{|x| < D/2} x**2          rounding
    D = (high - low) / (qmax - qmin)

The last term is ours: zero is a level, so what is nearer to it than half a step becomes zero, and its
error is x itself. Without it a range that holds a far outlier looks worse than it is.
All lengths below are in bin widths; inside a bin the values are taken as spread evenly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewbits.numerics.evidence import RangeEvidence, reach
from fewbits.numerics.formats import IntegerFormat

_CANDIDATES = 128
_REFINEMENT = 16

_Array = NDArray[np.float64]


def mse(evidence: RangeEvidence, format: IntegerFormat, symmetric: bool) -> tuple[float, float]:
    """The range low <= 0 <= high with the least J, to the width of a bin and within what was seen.

    Affine: both ends are searched together; symmetric: one threshold, taken to be the same on both sides
    (the one level more that a full signed format has below zero is not counted).
    """
    negative, positive = (_Side(mass) for mass in evidence.sides(format, symmetric))
    intervals = format.qmax if symmetric else format.levels - 1
    if negative.top + positive.top == 0:
        return evidence.clip(evidence.minimum, evidence.maximum, format, symmetric)
    # From coarse to fine: a grid over the whole range, then ever smaller ones around the best point.
    stride = -(-max(negative.top, positive.top) // _CANDIDATES)
    lows, highs = (np.append(np.arange(0, side.top, stride), side.top) for side in (negative, positive))
    while True:
        cost = _cost(negative, positive, lows, highs, intervals)
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        low, high = int(lows[i]), int(highs[j])
        if stride == 1:
            break
        radius, stride = stride, -(-stride // _REFINEMENT)
        around = np.arange(-radius, radius + 1, stride)
        lows, highs = (
            np.unique(np.clip(np.append(around, 0) + best, 0, side.top))
            for best, side in ((low, negative), (high, positive))
        )
    width = evidence.histogram.width
    threshold = high * width
    return evidence.clip(-threshold if symmetric else -low * width, threshold, format, symmetric)


class _Side:
    """One side of zero: counts outward and, for each edge j, what lies within and beyond it."""

    def __init__(self, mass: _Array) -> None:
        self.top = reach(mass)
        self.mass = np.append(mass, 0.0)
        edge = np.arange(mass.size + 1, dtype=np.float64)
        # Moments of a bin spread evenly over [j, j+1]: integrals of 1, x and x**2.
        first = mass * np.diff(edge**2) / 2
        second = mass * np.diff(edge**3) / 3
        self.within, self.within_squares = _running(mass), _running(second)
        beyond, beyond_first, beyond_second = (_running(m[::-1])[::-1] for m in (mass, first, second))
        self.clipping = beyond_second - 2 * edge * beyond_first + edge**2 * beyond

    def near(self, radius: _Array) -> tuple[_Array, _Array]:
        """Count and sum of squares of the values nearer to zero than `radius` (any shape)."""
        j = radius.astype(np.intp)
        mass = self.mass[j]
        count = self.within[j] + mass * (radius - j)
        return count, self.within_squares[j] + mass * (radius**3 - j.astype(np.float64) ** 3) / 3


def _running(values: _Array) -> _Array:
    """Sums of the first 0, 1, 2 ... values."""
    return np.concatenate(([0.0], np.cumsum(values)))


def _cost(negative: _Side, positive: _Side, lows: NDArray[np.intp], highs: NDArray[np.intp], intervals: int) -> _Array:
    """J for each pair of edges: lows [A], highs [B] -> [A, B]; the empty range costs infinitely much."""
    low, high = lows[:, None].astype(np.float64), highs[None, :].astype(np.float64)
    step = (low + high) / intervals
    cost: _Array = np.broadcast_to(negative.clipping[lows][:, None], step.shape).copy()
    cost += positive.clipping[highs][None, :]
    for side, end, edges in ((negative, low, lows[:, None]), (positive, high, highs[None, :])):
        if side.top:
            count, squares = side.near(np.minimum(step / 2, end))
            cost += squares + (side.within[edges] - count) * step**2 / 12
    cost[step == 0.0] = np.inf
    return cost
