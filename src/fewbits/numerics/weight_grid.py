"""Weights that already lie on a grid: a network that was quantized before and written back as floats.

Weights w = s q with integers q keep their values exactly if they are quantized with s again. The usual scale, the
largest magnitude by the largest integer, is another grid as soon as the largest integer is not in use, and rounds all
of them a second time. s is found as the smallest distance between two weights, of a channel or of the whole tensor, or
a fraction of it, and refined by least squares, s = sum(w q) / sum(q q).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Weights of a channel looked at before all of them are; distances of the whole tensor are of so many channels at most.
_PROBED, _PROBED_CHANNELS = 64, 64
# A distance may be that of several steps.
_FRACTIONS = (1, 2, 3, 4)
# Of the usual scale's squared error, what a grid may leave. Rounding to float32 leaves a millionth, chance rarely this.
_LEFT = 0.01
# Distances below this part of the usual step are rounding errors of equal weights.
_EQUAL = 0.02
# Weights looked at at a time: a layer may have a hundred million.
_BLOCK = 1 << 20


def grid_steps(weights: NDArray[np.float32], axis: int, most: int) -> NDArray[np.float64]:
    """The step of the grid that each channel's weights lie on, 0 where there is none that its integers can hold.

    Args:
        weights: of any shape; ``axis`` holds the channels, C of them.
        most: the largest integer.

    Returns:
        f64[C].
    """
    channels = np.moveaxis(weights, axis, 0)
    count, size = len(channels), math.prod(channels.shape[1:])
    if not weights.size:
        return np.zeros(count)
    some = channels[:_PROBED_CHANNELS].reshape(-1, size)[:, :_PROBED].astype(np.float64)
    (shared,) = _smallest_distance(some.reshape(1, -1), np.array([np.abs(some).max() / most]))
    found = np.zeros(count)
    rows = max(_BLOCK // size, 1)
    for start in range(0, count, rows):
        block = channels[start : start + rows]
        found[start : start + rows] = _steps_of(block.reshape(len(block), size), shared, most)
    return found


def _steps_of(rows: NDArray[np.float32], shared: float, most: int) -> NDArray[np.float64]:
    """The steps of the channels [C, n]; ``shared`` is the smallest distance in the whole tensor."""
    found = np.zeros(len(rows))
    probe = rows[:, :_PROBED].astype(np.float64)
    usual = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64) / most
    own = _smallest_distance(probe, usual)
    for steps in (np.full_like(own, shared), *(own / fraction for fraction in _FRACTIONS)):
        # 127.1 steps are 127: the distance itself has rounding errors.
        left = (found == 0) & (usual > 0) & np.isfinite(steps) & (steps > usual * (1 - 1e-3))
        left[left] = _fits(probe[left], steps[left], usual[left])
        if left.any():
            refined = _refined(rows[left], steps[left])
            found[left] = np.where(_fits(rows[left], refined, usual[left]), refined, 0.0)
    return found


def _smallest_distance(rows: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between two magnitudes of a row, zero among them; infinite where all are equal."""
    ordered = np.sort(np.pad(np.abs(rows), ((0, 0), (1, 0))), axis=1)
    distances = np.diff(ordered, axis=1)
    distances[distances < _EQUAL * usual[:, None]] = np.inf
    return np.asarray(distances.min(axis=1, initial=np.inf))


def _refined(rows: NDArray[np.float32], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    integers = np.rint(rows / steps[:, None])
    return np.asarray((rows * integers).sum(axis=1) / np.maximum((integers**2).sum(axis=1), 1.0))


def _fits(rows: NDArray[np.floating], steps: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether next to nothing is left of the error that the usual steps make."""
    return np.asarray(_error(rows, steps) <= _LEFT * _error(rows, usual))


def _error(rows: NDArray[np.floating], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = rows / steps[:, None]
    return np.asarray(((scaled - np.rint(scaled)) ** 2).sum(axis=1) * steps**2)
