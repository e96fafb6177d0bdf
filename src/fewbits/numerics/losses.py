"""What a narrower float format does to an array: overflow, numbers that vanish, digits that go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.numerics.formats import FloatFormat, round_to

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Loss:
    """Shares are of all numbers, 0 to 1.

    Args:
        over: share of finite numbers that become infinite.
        lost: share of numbers other than zero that become zero.
        subnormal: share that stays, but below the smallest normal number, where digits go.
        peak: largest finite magnitude of the array.
        least: smallest magnitude above zero; 0 for an array of zeros.
        error: ``||x - rounded|| / ||x||`` over numbers that do not overflow; 0 for an array of zeros.
    """

    over: float
    lost: float
    subnormal: float
    peak: float
    least: float
    error: float


def loss(array: NDArray[np.generic], format: FloatFormat) -> Loss:
    """Round an array to the format and say what was lost; infinities and NaN are nobody's loss.

    Sums are taken in float64, block by block: weights may be larger than what memory has left.
    """
    flat = np.asarray(array).reshape(-1)
    count = over = lost = subnormal = 0
    peak, least, energy, noise = 0.0, np.inf, 0.0, 0.0
    for start in range(0, flat.size, _BLOCK):
        x = flat[start : start + _BLOCK].astype(np.float32)
        x = x[np.isfinite(x)]
        y, size = round_to(x, format), np.abs(x)
        infinite = np.isinf(y)
        count += x.size
        over += int(infinite.sum())
        lost += int(((y == 0) & (x != 0)).sum())
        subnormal += int(((y != 0) & (size < format.smallest_normal)).sum())
        peak = max(peak, float(size.max(initial=0.0)))
        least = min(least, float(size[size > 0].min(initial=np.inf)))
        kept = x[~infinite].astype(np.float64)
        energy += float(kept @ kept)
        difference = kept - y[~infinite]
        noise += float(difference @ difference)
    error = (noise / energy) ** 0.5 if energy else 0.0
    total = max(count, 1)
    least = least if np.isfinite(least) else 0.0
    return Loss(over / total, lost / total, subnormal / total, peak, least, error)
