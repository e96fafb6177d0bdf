"""Arithmetic with shapes, and constants made of them."""

from __future__ import annotations

import numpy as np
from onnx import helper

from ..builder import Builder
from ..values import Value
from .moving import axes_op


def _size(b: Builder, x: Value, axis: int) -> Value:
    """The size of one axis, as int64 [1]."""
    if b.opset >= 15 and b.chance(0.3):
        return b.op("Shape", x, start=axis, end=axis + 1)
    shape = b.op("Shape", x)
    if b.chance(0.5):
        scalar = b.op("Gather", shape, b.const(axis, np.int64, "i"), axis=0)
        return axes_op(b, "Unsqueeze", scalar, [0])
    return b.op("Gather", shape, b.ints(axis), axis=0)


def view(b: Builder) -> Value:
    """``x.view(x.size(0), -1)`` as exporters write it."""
    x = b.floats(2, 3, 4)
    parts = [_size(b, x, 0), b.ints(-1)]
    if x.rank > 2 and b.chance(0.5):
        parts.insert(1, _size(b, x, 1))
    return b.op("Reshape", x, b.op("Concat", *parts, axis=0))


def half_of_shape(b: Builder) -> Value:
    """A slice whose end is computed from the shape."""
    b.since(10)
    x = b.floats(2, 3, 4)
    axis = x.rank - 1
    b.need(min(p.shape[axis] for p in x.probes) >= 2)
    half = b.op("Div", _size(b, x, axis), b.ints(2))
    return b.op("Slice", x, b.ints(0), half, b.ints(axis))


def expand_to(b: Builder) -> Value:
    b.since(8)
    x = b.floats(1, 2, 3, 4)
    b.need(x.dims[-1] is not None)
    return b.op("Add", x, b.op("Expand", b.vector(x.shape[-1]), b.op("Shape", x)))


def constant_of_shape(b: Builder) -> Value:
    b.since(9)
    x = b.floats(1, 2, 3, 4)
    value = b.one_of(None, helper.make_tensor("value", 1, [1], [0.5]), helper.make_tensor("value", 1, [1], [-2.0]))
    filled = b.op("ConstantOfShape", b.op("Shape", x), value=value, anything=True)
    return b.op("Add", x, filled)


def positions(b: Builder) -> Value:
    """``arange(size)`` as floats, added to the activations."""
    b.since(11)
    x = b.floats(2, 3, 4)
    size = b.op("Gather", b.op("Shape", x), b.const(x.rank - 1, np.int64, "i"), axis=0)
    numbers = b.op("Range", b.const(0, np.int64, "start"), size, b.const(1, np.int64, "delta"))
    scaled = b.op("Mul", b.op("Cast", numbers, to=1), b.const(0.1, hint="c"))
    return b.op("Add", x, b.op(b.one_of("Sin", "Cos", "Identity"), scaled))


def size_of(b: Builder) -> Value:
    x = b.floats(1, 2, 3, 4)
    count = b.op("Cast", b.op("Size", x), to=1)
    total = axes_op(b, "ReduceSum", x, list(range(1, x.rank)), keepdims=1) if x.rank > 1 else x
    return b.op("Div", total, count)


def eye_like(b: Builder) -> Value:
    b.since(9)
    x = b.floats(2)
    return b.op("Add", x, b.op("EyeLike", x, k=b.one_of(None, 1, -1)))


def trilu(b: Builder) -> Value:
    b.since(14)
    x = b.pick(lambda v: v.is_float and v.rank >= 2)
    offset = b.const(b.one_of(0, 1, -1), np.int64, "k") if b.chance(0.6) else None
    return b.op("Trilu", x, offset, upper=b.one_of(None, 0, 1))


RECIPES = {
    "view": view,
    "half": half_of_shape,
    "Expand to": expand_to,
    "ConstantOfShape": constant_of_shape,
    "positions": positions,
    "Size": size_of,
    "EyeLike": eye_like,
    "Trilu": trilu,
}
