"""Choose the threshold whose quantized distribution tells least apart from the real one.

Migacz, "8-bit Inference with TensorRT", GTC 2017. For each candidate i (in bins outward from zero):
P is the first i bins with all that lies beyond added to the last one; Q is the first i bins without
that, merged into L levels, each spread evenly over its bins that are not empty. Take the least::

    KL(P || Q) = sum_b P_b log(P_b / Q_b)

Within a level g the log of Q is constant, so with raw counts p, the level's sum m_g and its occupied
bins z_g, only sums over levels are needed, and those are differences of running sums::

    sum_b p_b log q_b = sum_g m_g log(m_g / z_g) + beyond * log(m_L / z_L)

which turns Migacz' loop over candidates and bins into one [candidates, levels] array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewbits.numerics.evidence import RangeEvidence, reach
from fewbits.numerics.formats import IntegerFormat

_CANDIDATES = 256
_BULK_TAIL = 1e-4
_LEAST_SHARE = 1 / 16


def entropy(evidence: RangeEvidence, format: IntegerFormat, symmetric: bool) -> tuple[float, float]:
    """The range of least KL divergence, within what was seen. Exact zeros do not count.

    Symmetric: one threshold on the magnitude with ``qmax + 1`` levels. Affine: each side on its own with
    its share of the levels, which follows the reach of its bulk (all but a tail of 1e-4, so that a far
    outlier does not draw the levels to its side), and is at least a sixteenth. A threshold spans more
    bins than levels, as in the original, so an outlier beyond some ten times the bulk is not all clipped.
    """
    sides = evidence.sides(format, symmetric)
    bulk = [reach(side, _BULK_TAIL * float(side.sum())) for side in sides]
    if sum(bulk) == 0:
        return evidence.clip(evidence.minimum, evidence.maximum, format, symmetric)
    levels = format.qmax + 1 if symmetric else format.levels
    low, high = (
        evidence.histogram.width * _threshold(side, round(levels * max(part / sum(bulk), _LEAST_SHARE)))
        for side, part in zip(sides, bulk, strict=True)
    )
    return evidence.clip(-high if symmetric else -low, high, format, symmetric)


def _threshold(mass: NDArray[np.float64], levels: int) -> int:
    """The best candidate, in bins; all occupied bins where there is nothing to choose."""
    # Candidates end in an occupied bin: elsewhere Q is 0 where P is not, and KL is infinite.
    ends = np.flatnonzero(mass) + 1
    candidates = ends[ends > levels]
    if candidates.size < 2:
        return reach(mass)
    chosen = np.linspace(0, candidates.size - 1, min(candidates.size, _CANDIDATES)).astype(np.intp)
    i = candidates[chosen]
    return int(i[np.argmin(_divergence(mass, i, levels))])


def _divergence(mass: NDArray[np.float64], i: NDArray[np.intp], levels: int) -> NDArray[np.float64]:
    """KL(P || Q) in nats for candidates i [K] -> [K]."""
    total = mass.sum()
    sums = np.concatenate(([0.0], np.cumsum(mass)))
    occupied = np.concatenate(([0], np.cumsum(mass > 0)))
    p_log_p = np.concatenate(([0.0], np.cumsum(_xlogx(mass))))
    borders = (i[:, None] * np.arange(levels + 1)) // levels
    m = np.diff(sums[borders], axis=1)
    z = np.diff(occupied[borders], axis=1)
    log_q = np.log(np.where(z > 0, m, 1.0) / np.maximum(z, 1))
    beyond, last = total - sums[i], mass[i - 1]
    p_log_q = (m * log_q).sum(axis=1) + beyond * log_q[:, -1]
    p_log_p_clipped = p_log_p[i] - _xlogx(last) + _xlogx(last + beyond)
    divergence: NDArray[np.float64] = (p_log_p_clipped - p_log_q) / total - np.log(total / sums[i])
    return divergence


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """``x log x`` with its limit 0 at 0."""
    return x * np.log(np.where(x > 0, x, 1.0))
