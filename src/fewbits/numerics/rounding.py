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
        ValueError: the shapes do not fit, or moments are not finite.
    """
    groups, _, size = weights.shape
    if not np.isfinite(moments).all():
        raise ValueError("the moments hold NaN or infinity")
    if moments.shape != (groups, size, size) or scale.shape != weights.shape[:2]:
        raise ValueError(f"shapes {weights.shape}, {moments.shape} and {scale.shape} do not fit together")
    h = np.asarray(moments, np.float64)
    order, factor = _factor(h)
    exact = np.asarray(weights, np.float64) / np.asarray(scale, np.float64)[:, :, None]
    # [G, D, O]: what is rounded together lies side by side.
    rest = np.take_along_axis(exact, order[:, None, :], axis=2).transpose(0, 2, 1).copy()
    levels = np.empty_like(rest)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.empty((groups, stop - start, rest.shape[2]))
        for column in range(start, stop):
            levels[:, column] = np.clip(np.rint(rest[:, column]), lowest, highest)
            error = (rest[:, column] - levels[:, column]) / factor[:, column, column, None]
            rest[:, column:stop] -= factor[:, column, column:stop, None] * error[:, None, :]
            errors[:, column - start] = error
        rest[:, stop:] -= np.swapaxes(factor[:, start:stop, stop:], 1, 2) @ errors
    levels = np.take_along_axis(levels, np.argsort(order, axis=1)[:, :, None], axis=1).transpose(0, 2, 1)
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
    from scipy.linalg.lapack import dtrtri  # takes a fifth of a second to load, and only learned rounding needs it

    diagonal = np.einsum("gii->gi", moments)
    mean = diagonal.mean(axis=1, keepdims=True)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    # With all turned round, P H P = L L^T: H = R R^T and its inverse U^T U, where R = P L P and U = R^-1 are upper.
    turned = order[:, ::-1]
    damped = np.take_along_axis(np.take_along_axis(moments, turned[:, :, None], axis=1), turned[:, None, :], axis=2)
    lower, added = None, DAMPING * np.where(mean > 0, mean, 1.0)
    while lower is None:
        np.einsum("gii->gi", damped)[...] += added
        try:
            lower = np.linalg.cholesky(damped)
        except np.linalg.LinAlgError:
            # Moments about a mean that dwarfs the variance are noise: below zero along some axis.
            added *= 10
    factor = np.empty_like(damped)
    for group, triangle in enumerate(lower):
        factor[group] = dtrtri(triangle, lower=1)[0][::-1, ::-1]
    return order, factor
