"""Reductions over axes: an attribute in older opsets, an input in newer ones."""

from __future__ import annotations

import numpy as np

from ..builder import Builder
from ..values import Value
from .moving import axes_op, signed

KINDS = ("ReduceMean", "ReduceMean", "ReduceSum", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
RARE = ("ReduceProd", "ReduceLogSumExp", "ReduceSumSquare", "ReduceLogSum")


def reduce(b: Builder) -> Value:
    x = b.floats(1, 2, 3, 4)
    kind = b.one_of(*KINDS, b.one_of(*RARE))
    if kind == "ReduceLogSum":
        x = b.op("Exp", x)
    since = 13 if kind == "ReduceSum" else 18
    keepdims = b.one_of(None, 0, 1)
    if b.chance(0.1):
        if b.opset >= since and b.chance(0.4):
            return b.op(kind, x, noop_with_empty_axes=1, keepdims=keepdims)
        return b.op(kind, x, keepdims=keepdims)
    axes = [x.rank - 1] if b.chance(0.5) else sorted(b.random.sample(range(x.rank), b.random.randrange(1, x.rank + 1)))
    if x.rank > 1 and 0 in axes and b.chance(0.8):
        axes.remove(0)
        axes = axes or [1]
    found: Value = axes_op(b, kind, x, [signed(b, a, x.rank) for a in axes], since, keepdims=keepdims)
    return found


def of_integers(b: Builder) -> Value:
    x = b.integers((np.int64,))
    total = axes_op(b, b.one_of("ReduceSum", "ReduceSum"), x, [x.rank - 1], keepdims=1)
    return b.op("Mul", b.op("Cast", total, to=1), b.const(0.02, hint="c"))


RECIPES = {"reduce": reduce, "reduce again": reduce, "reduce integers": of_integers}
