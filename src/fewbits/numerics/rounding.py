"""Which way to round each weight, so that a layer's outputs change least.

Rounding to the nearest level minimises the error of each weight; a layer's output is a sum over many, and errors
that cancel on the inputs the layer really sees cost nothing. For a layer y = W x the loss of rounding W to W~ is
quadratic, with the second moments of its inputs (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
Quantization", equation 13)::

    E |W x - W~ x|^2 = sum over rows of (w - w~) H (w - w~)^T        H = E[x x^T]

It is lowered without training: columns are rounded one after the other, and the error of each is spread over the
columns not yet rounded so that the loss grows least (Frantar et al. 2023, "GPTQ", equations 2 and 3; Hassibi and Stork
1993, "Optimal Brain Surgeon"). Being greedy it loses to the nearest level now and then; such rows keep the nearest.
With H centred, the mean of the error is left to bias correction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

# Part of the mean diagonal added to H: inputs that hardly vary would otherwise take up any error.
DAMPING = 0.01
# Columns whose updates of the rest are put together into one matrix product.
_BLOCK = 64


def round_weights(
    weights: NDArray[np.floating], moments: NDArray[np.floating], scale: NDArray[np.floating], lowest: int, highest: int
) -> NDArray[np.float64]:
    """The level of each weight, as whole numbers: of no row is the loss above that of the nearest levels.

    Args:
        weights: [G, O, D], of G groups with O outputs and D inputs each.
        moments: [G, D, D], symmetric, of the inputs of each group; any positive multiple gives the same result.
        scale: [G, O], the step between two levels of each output.
        lowest, highest: the levels there are.

    Raises:
        ValueError: the shapes do not fit.
    """
    groups, _, size = weights.shape
    if moments.shape != (groups, size, size) or scale.shape != weights.shape[:2]:
        raise ValueError(f"shapes {weights.shape}, {moments.shape} and {scale.shape} do not fit together")
    h = np.asarray(moments, np.float64)
    order, factor = _factor(h)
    exact = np.asarray(weights, np.float64) / np.asarray(scale, np.float64)[:, :, None]
    rest = np.take_along_axis(exact, order[:, None, :], axis=2)
    levels = np.empty_like(rest)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.empty((*rest.shape[:2], stop - start))
        for column in range(start, stop):
            levels[:, :, column] = np.clip(np.rint(rest[:, :, column]), lowest, highest)
            error = (rest[:, :, column] - levels[:, :, column]) / factor[:, None, column, column]
            rest[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
            errors[:, :, column - start] = error
        rest[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    levels = np.take_along_axis(levels, np.argsort(order, axis=1)[:, None, :], axis=2)
    nearest = np.clip(np.rint(exact), lowest, highest)
    worse = _loss(exact - levels, h) > _loss(exact - nearest, h)
    return np.where(worse[:, :, None], nearest, levels)


def _loss(error: _Array, moments: _Array) -> _Array:
    """Of every row e: e H e^T, [G, O]."""
    return np.asarray(((error @ moments) * error).sum(axis=2))


def _factor(moments: _Array) -> tuple[NDArray[np.intp], _Array]:
    """The order to round in, and the upper Cholesky factor of the inverse of H in that order, [G, D, D].

    Inputs that vary most come first, while there are still many others to take up their error.
    """
    size = moments.shape[1]
    diagonal = np.einsum("gii->gi", moments)
    mean = diagonal.mean(axis=1, keepdims=True)
    damped = moments + (np.where(mean > 0, mean, 1.0) * DAMPING)[:, :, None] * np.eye(size)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], axis=1), order[:, None, :], axis=2)
    inverse = np.linalg.inv(damped)
    # inverse = U^T U with U upper triangular: the transpose of the usual lower factor.
    return order, np.swapaxes(np.linalg.cholesky((inverse + np.swapaxes(inverse, 1, 2)) / 2), 1, 2)
