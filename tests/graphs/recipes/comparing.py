"""Comparisons, logic, selection by a mask, and masks that are filled."""

from __future__ import annotations

import numpy as np
from onnx import helper

from ..builder import Builder
from ..values import Value
from .moving import unsqueeze_to
from .pointwise import operand


def compare(b: Builder, x: Value | None = None) -> Value:
    """A boolean of the shape of a float value."""
    x = x or b.floats()
    kind = b.one_of("Greater", "Less", *(["GreaterOrEqual", "LessOrEqual"] if b.opset >= 12 else []))
    kind = "Greater" if b.opset < 9 and x.dtype.kind != "f" else kind
    found: Value = b.op(kind, x, b.const(b.one_of(0.0, 0.1, -0.3, 0.5), hint="c"))
    return found


def logic(b: Builder) -> Value:
    x = b.floats()
    mask = compare(b, x)
    kind = b.one_of("Not", "And", "Or", "Xor", "")
    if kind == "Not":
        mask = b.op("Not", mask)
    elif kind:
        mask = b.op(kind, mask, compare(b, x))
    if b.chance(0.3):
        b.scope.append(mask)
    return b.op("Mul", x, b.op("Cast", mask, to=1))


def equal(b: Builder) -> Value:
    x = b.integers()
    other = b.const(int(x.probes[0].flat[0]), x.dtype, "c")
    return b.op("Cast", b.op("Equal", x, other), to=1)


def where(b: Builder) -> Value:
    b.since(9)
    x = b.floats()
    mask = compare(b, b.one_of(x, operand(b, x)))
    pair = [x, operand(b, x) if b.chance(0.5) else b.const(b.one_of(0.0, 1.0, -1.0), hint="fill")]
    return b.op("Where", mask, *(pair if b.chance(0.6) else pair[::-1]))


def special(b: Builder) -> Value:
    b.since(10)
    x = b.floats()
    kind = b.one_of("IsNaN", "IsInf")
    return b.op("Where", b.op(kind, x), b.const(0.0, hint="fill"), x)


def masked_softmax(b: Builder) -> Value:
    """Scores, some of them put far below by a fill of -1e9 or -inf before the softmax."""
    x = b.pick(lambda v: v.is_float and v.rank >= 2 and v.probes[0].size > 0 and v.shape[-1] > 1)
    fill = b.one_of(-1e9, -1e4, -65504.0, -3.4028234663852886e38, float("-inf"))
    way = b.one_of("where", "add", "mul", "constant of shape")
    if way == "where" and b.opset >= 9:
        masked = b.op("Where", compare(b, x), x, b.const(fill, hint="fill"), anything=True)
    elif way == "constant of shape" and b.opset >= 9:
        value = helper.make_tensor("value", 1, [1], [fill])
        filled = b.op("ConstantOfShape", b.op("Shape", x), value=value, anything=True)
        masked = b.op("Where", compare(b, x), x, filled, anything=True)
    elif way == "add" and x.dims[-1] is not None:
        row = np.where(b.rng().random(x.shape[-1]) < 0.3, fill, 0.0)
        row[0] = 0
        masked = b.op("Add", x, b.const(row, hint="mask"), anything=True)
    else:
        mask = b.op("Cast", compare(b, x), to=1)
        shut = b.op("Sub", b.const(1.0, hint="one"), mask, anything=True)
        masked = b.op("Add", x, b.op("Mul", shut, b.const(max(fill, -1e9), hint="fill"), anything=True), anything=True)
    return b.op("Softmax", masked, axis=x.rank - 1)


def by_input_mask(b: Builder) -> Value:
    """A mask of 0 and 1 that is an input."""
    x = b.pick(lambda v: v.is_float and v.rank >= 2)
    masks = [v for v in b.scope if "mask" in v.name and v.rank <= x.rank and v.dims == x.dims[: v.rank]]
    if not masks:
        b.need(x.dims[0] in (None, 1) and x.dims[1] is not None and x.shape[0] == b.scope[0].shape[0])
        masks = [b.add_input("mask", [b.style.batch, x.shape[1]], b.one_of("mask", "bool"))]
    mask = b.one_of(*masks)
    if mask.dtype == np.bool_:
        mask = b.op("Cast", mask, to=1)
    return b.op("Mul", x, unsqueeze_to(b, mask, x.rank))


RECIPES = {
    "logic": logic,
    "Equal": equal,
    "Where": where,
    "IsNaN": special,
    "masked Softmax": masked_softmax,
    "masked Softmax again": masked_softmax,
    "mask": by_input_mask,
}
