"""Which of a model's outputs holds the classes, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Outputs

NO_CLASS = -1
"""The class of a pixel whose scores hold a NaN: equal to no label."""


def classes(output_shape: Sequence[int | None]) -> int | None:
    """How many classes an output of this shape tells apart; None where it is no classification.

    (1, 1000) → 1000, (None, 1000) → 1000, (1, 1000, 1, 1) → 1000, (1, 1, 1, 1000) → 1000, (10,) → 10;
    (1, 21, 64, 64) → None (a map), (1, 1) → None (one score is no choice), (8, 10) → None (a batch).
    """
    if len(output_shape) > 1:
        batch, *rest = output_shape
        if batch not in (1, None):
            return None
    else:
        rest = list(output_shape)
    sizes = [size for size in rest if size != 1]
    return sizes[0] if len(sizes) == 1 and sizes[0] else None


def class_scores(outputs: Outputs) -> NDArray[np.float64] | None:
    """Scores [K] of the output that classifies: the first output, else the only one that fits.

    None where no output fits, or several do and none of them is the first.
    """
    fitting = [array for array in outputs.values() if classes(array.shape) is not None]
    if not fitting:
        return None
    first = next(iter(outputs.values()))
    if len(fitting) > 1 and classes(first.shape) is None:
        return None
    chosen = first if classes(first.shape) is not None else fitting[0]
    return chosen.astype(np.float64).ravel()


def class_map(outputs: Outputs) -> tuple[NDArray[np.int64], int | None] | None:
    """The class of each pixel [H, W] and the number of classes K; None where no output is a map.

    Scores [1, K, H, W] with K > 1 → argmax over K, :data:`NO_CLASS` where a pixel's scores hold a NaN.
    Integers [1, H, W] or [1, 1, H, W] are classes already; K is then not known: None.
    Several maps of different shapes are the heads of a detector, not a segmentation: None.
    """
    maps = [array for array in outputs.values() if _is_map(array)]
    if not maps or any(array.shape != maps[0].shape for array in maps):
        return None
    chosen = maps[0]
    if chosen.ndim == 4 and chosen.shape[1] > 1:
        scores = chosen[0].astype(np.float64)
        picked = np.argmax(scores, axis=0).astype(np.int64)
        picked[np.isnan(scores).any(axis=0)] = NO_CLASS
        return picked, int(chosen.shape[1])
    return chosen.reshape(chosen.shape[-2:]).astype(np.int64), None


def shapes(outputs: Outputs) -> str:
    """The outputs as an error message names them: ``prob [1, 1000], boxes [1, 100, 4]``."""
    return ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items()) or "no outputs"


def label(target: object | None) -> int:
    """The one integer class in a target: an int, a NumPy integer or an integer array of one element.

    Raises:
        DataError: the target is missing, is no integer or is more than one.
    """
    array = np.asarray(target)
    if target is None or array.size != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"a class label must be one integer, not {_short(target)}",
            fix="give integer labels, or choose a metric that fits these targets",
        )
    return int(array.reshape(()))


def _is_map(array: NDArray[Any]) -> bool:
    if array.ndim not in (3, 4) or array.shape[0] != 1 or array.shape[-1] * array.shape[-2] <= 1:
        return False
    if array.ndim == 4 and array.shape[1] > 1:
        return True
    one_channel = array.ndim == 3 or array.shape[1] == 1
    return one_channel and np.issubdtype(array.dtype, np.integer)


def _short(target: object) -> str:
    text = repr(target)
    return text if len(text) <= 60 else f"{text[:57]}..."
