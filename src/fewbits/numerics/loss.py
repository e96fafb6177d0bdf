"""What a narrower float format does to an array: overflow, numbers that vanish, digits that go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.numerics.formats import FloatFormat, round_to


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
    """Round an array to the format and say what was lost; infinities and NaN are nobody's loss."""
    x = np.asarray(array, np.float32).ravel()
    x = x[np.isfinite(x)]
    if not x.size:
        return Loss(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    y, size = round_to(x, format), np.abs(x)
    over = np.isinf(y)
    kept, rounded = x[~over].astype(np.float64), y[~over].astype(np.float64)
    norm = float(np.linalg.norm(kept))
    return Loss(
        float(over.mean()),
        float(((y == 0) & (x != 0)).mean()),
        float(((y != 0) & (size < format.smallest_normal)).mean()),
        float(size.max()),
        float(size[size > 0].min()) if size.any() else 0.0,
        float(np.linalg.norm(kept - rounded)) / norm if norm else 0.0,
    )
