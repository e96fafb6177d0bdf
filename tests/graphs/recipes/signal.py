"""Fourier transforms, windows, and rarities of linear algebra."""

from __future__ import annotations

import numpy as np

from ..builder import Builder
from ..values import Value
from .moving import axes_op


def fourier(b: Builder) -> Value:
    b.since(17)
    x = b.floats(2, 3)
    y = axes_op(b, "Unsqueeze", x, [x.rank])
    if b.opset >= 20:
        return b.op("DFT", y, None, b.const(1, np.int64, "axis"), onesided=b.one_of(None, 1))
    return b.op("DFT", y, axis=1, onesided=b.one_of(None, 1))


def window(b: Builder) -> Value:
    b.since(17)
    x = b.floats(2, 3)
    b.need(x.dims[-1] is not None)
    kind = b.one_of("HannWindow", "HammingWindow", "BlackmanWindow")
    made = b.op(kind, b.const(x.shape[-1], np.int64, "size"), periodic=b.one_of(None, 0))
    return b.op("Mul", x, made)


def stft(b: Builder) -> Value:
    b.since(17)
    x = b.floats(2)
    b.need(x.shape[1] >= 8)
    return b.op("STFT", x, b.const(2, np.int64, "step"), None, b.const(8, np.int64, "length"))


def determinant(b: Builder) -> Value:
    b.since(11)
    x = b.floats(3)
    b.need(x.shape[1] <= x.shape[2])
    return b.op("Det", b.op("MatMul", x, b.op("Transpose", x, perm=[0, 2, 1])))


def col2im(b: Builder) -> Value:
    b.since(18)
    x = b.pick(
        lambda v: v.is_float and v.rank == 3 and v.dims[1] is not None and v.shape[1] % 4 == 0 and v.dims[2] is not None
    )
    return b.op("Col2Im", x, b.ints(2, x.shape[2] * 2), b.ints(2, 2), strides=[2, 2])


def other_types(b: Builder) -> Value:
    """A stretch in FP64 or FP16."""
    x = b.floats(2, 3, 4)
    to = b.one_of(11, 11, 10)
    y = b.op("Cast", x, to=to)
    dtype = np.float64 if to == 11 else np.float16
    y = b.op(b.one_of("Mul", "Add"), y, b.const(0.7, dtype, "c"))
    if b.chance(0.4) and x.dims[-1] is not None:
        y = b.op("MatMul", y, b.const(b.rng().normal(0, x.shape[-1] ** -0.5, (x.shape[-1], 4)), dtype))
    return y if b.chance(0.2) else b.op("Cast", y, to=1)


RECIPES = {
    "DFT": fourier,
    "window": window,
    "STFT": stft,
    "Det": determinant,
    "Col2Im": col2im,
    "other types": other_types,
    "other types again": other_types,
}
