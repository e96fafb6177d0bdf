"""Quantize and dequantize as ONNX does, once for the whole project.

Equations (ONNX operators QuantizeLinear and DequantizeLinear)::

    q = saturate(round(x / scale) + zero_point)      round half to even
    x' = (q - zero_point) * scale

``saturate`` clips to the format, which may be narrower than its storage type (INT8_NARROW, INT7).
Work is done in blocks: a large weight needs its result and about a MiB, not several copies of itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fewbits.numerics.qparams import QParams

_BLOCK_ELEMENTS = 1 << 16


def quantize(x: NDArray[np.floating], q: QParams) -> NDArray[np.generic]:
    """The integer for each x: [A, B, C] with scale [B] on axis 1 -> [A, B, C] in ``q.format.dtype``.

    Formats of up to 16 bits divide in float32 as engines do; wider ones (biases) in float64, where
    every level is exact. Infinities saturate.

    Raises:
        ValueError: x holds NaN, or its size along ``q.axis`` is not the number of scales.
    """
    view, scale, zero_point = _by_channel(np.asarray(x), q)
    out = np.empty(view.shape, q.format.dtype)
    work = np.float32 if q.format.bits <= 16 else np.float64
    for block, channel in _blocks(view.shape):
        with np.errstate(over="ignore", under="ignore"):
            levels = view[block].astype(np.float32).astype(work) / scale[channel].astype(work)
        np.rint(levels, out=levels)
        levels += zero_point[channel].astype(work)
        np.clip(levels, q.format.qmin, q.format.qmax, out=levels)
        if np.isnan(levels).any():
            raise ValueError("cannot quantize NaN")
        out[block] = levels.astype(q.format.dtype)
    return out.reshape(np.shape(x))


def dequantize(qx: NDArray[np.generic], q: QParams) -> NDArray[np.float32]:
    """The real number each integer stands for, float32 of the same shape.

    Raises:
        ValueError: the size along ``q.axis`` is not the number of scales.
    """
    view, scale, zero_point = _by_channel(np.asarray(qx), q)
    out = np.empty(view.shape, np.float32)
    for block, channel in _blocks(view.shape):
        difference = view[block].astype(np.float32)
        difference -= zero_point[channel].astype(np.float32)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(difference, scale[channel], out=out[block])
    return out.reshape(np.shape(qx))


def fake_quantize(x: NDArray[np.floating], q: QParams) -> NDArray[np.float32]:
    """What the quantized model sees instead of x: quantized and back, float32 of the same shape.

    Raises:
        ValueError: as `quantize`.
    """
    return dequantize(quantize(x, q), q)


def _by_channel(
    values: NDArray[np.generic], q: QParams
) -> tuple[NDArray[np.generic], NDArray[np.float32], NDArray[np.generic]]:
    """[A, B, C, D] with axis 1 as [A, B, C*D] with parameters [B, 1]; per tensor as [1, N, 1]."""
    if q.axis is None:
        shape: tuple[int, int, int] = (1, values.size, 1)
    else:
        channels = q.scale.size
        if not -values.ndim <= q.axis < values.ndim or values.shape[q.axis] != channels:
            raise ValueError(f"{channels} scales on axis {q.axis} do not fit shape {list(values.shape)}")
        axis = q.axis % values.ndim
        outer, inner = (int(np.prod(part)) for part in (values.shape[:axis], values.shape[axis + 1 :]))
        shape = (outer, channels, inner)
    column = (shape[1], 1)
    scale = np.broadcast_to(q.scale.reshape(-1, 1), column)
    return values.reshape(shape), scale, np.broadcast_to(q.zero_point.reshape(-1, 1), column)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, slice], slice]]:
    """Cut [outer, channels, inner] into blocks of at most `_BLOCK_ELEMENTS`, or one channel's row."""
    outer, channels, inner = shape
    columns = max(1, _BLOCK_ELEMENTS // max(1, inner))
    rows = max(1, columns // max(1, channels))
    for row in range(0, outer, rows):
        for column in range(0, channels, columns):
            channel = slice(column, column + columns)
            yield (slice(row, row + rows), channel), channel
