"""Gathering, scattering, sorting, selecting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..builder import Builder
from ..values import Value
from .moving import signed


def _axis(b: Builder, x: Value) -> int:
    """An axis of a known size."""
    known = [axis for axis, size in enumerate(x.dims) if size]
    b.need(known)
    return int(b.one_of(*known))


def gather(b: Builder) -> Value:
    x = b.floats(1, 2, 3, 4)
    axis = _axis(b, x)
    shape = b.one_of((), (1,), (3,), (2, 2))
    numbers = b.rng().integers(-x.shape[axis] if b.opset >= 11 and b.chance(0.3) else 0, x.shape[axis], shape)
    dtype = b.one_of(np.int64, np.int64, np.int32)
    return b.op(
        "Gather", x, b.const(numbers, dtype, "indices"), axis=signed(b, axis, x.rank) if axis or b.chance(0.5) else None
    )


def embedding(b: Builder) -> Value:
    ids = b.integers()
    top = int(max(p.max() for p in ids.probes if p.size))
    b.need(0 <= top < 16 and int(min(p.min() for p in ids.probes if p.size)) >= 0)
    return b.op("Gather", b.weight(16, b.one_of(4, 6, 8), fan_in=1, hint="table"), ids)


def gather_elements(b: Builder) -> Value:
    b.since(11)
    x = b.floats(2, 3)
    b.need(None not in x.dims[1:])
    axis = b.random.randrange(1, x.rank)
    _, order = b.ops("TopK", x, b.ints(min(2, x.shape[axis])), axis=axis, outputs=2)
    return b.op("GatherElements", x, order, axis=signed(b, axis, x.rank))


def gather_nd(b: Builder) -> Value:
    b.since(12)
    x = b.floats(2, 3, 4)
    b.need(x.rank >= 2 and None not in x.dims[1:])
    batch = x.dims[0] == 1 and b.chance(0.5)
    if batch:
        indices = b.rng().integers(0, x.shape[1], (1, 3, 1))
        return b.op("GatherND", x, b.const(indices, np.int64, "indices"), batch_dims=1)
    indices = np.stack([np.zeros(3, np.int64), b.rng().integers(0, x.shape[1], 3)], 1)
    return b.op("GatherND", x, b.const(indices, np.int64, "indices"))


def scatter_elements(b: Builder) -> Value:
    b.since(9)
    x = b.floats(2, 3)
    b.need(None not in x.dims[1:])
    axis = b.random.randrange(x.rank) if x.dims[0] is not None else b.random.randrange(1, x.rank)
    shape = [1, *x.shape[1:]]
    shape[axis] = 1
    indices = b.of_batch(b.const(b.rng().integers(0, x.shape[axis], shape), np.int64, "indices"), x)
    updates = b.of_batch(b.const(b.rng().normal(0, 1, shape), hint="updates"), x)
    if b.opset < 11:
        return b.op("Scatter", x, indices, updates, axis=axis)
    reductions = [None, "none", *(["add", "mul"] if b.opset >= 16 else []), *(["max", "min"] if b.opset >= 18 else [])]
    return b.op("ScatterElements", x, indices, updates, axis=signed(b, axis, x.rank), reduction=b.one_of(*reductions))


def scatter_nd(b: Builder) -> Value:
    b.since(11)
    x = b.floats(2, 3)
    b.need(x.dims[-1] is not None)
    indices = b.const([[0]], np.int64, "indices")
    b.need(None not in x.dims[1:])
    updates = b.const(b.rng().normal(0, 1, (1, *x.shape[1:])), hint="updates")
    reductions = [None, "none", *(["add", "mul"] if b.opset >= 16 else []), *(["max", "min"] if b.opset >= 18 else [])]
    return b.op("ScatterND", x, indices, updates, reduction=b.one_of(*reductions))


def top_k(b: Builder) -> Any:
    x = b.floats(1, 2, 3, 4)
    axis = _axis(b, x)
    k = b.one_of(1, min(3, x.shape[axis]), x.shape[axis])
    if b.opset < 10:
        values, order = b.ops("TopK", x, k=k, axis=axis, outputs=2)
    elif b.opset < 11:
        values, order = b.ops("TopK", x, b.ints(k), axis=axis, outputs=2)
    else:
        attributes = {"largest": b.one_of(None, 0, 1), "sorted": 1}
        values, order = b.ops("TopK", x, b.ints(k), axis=signed(b, axis, x.rank), outputs=2, **attributes)
    return (values, order) if b.chance(0.5) else values


def arg(b: Builder) -> Value:
    x = b.floats(1, 2, 3, 4)
    axis = _axis(b, x)
    last = b.one_of(None, 1) if b.opset >= 12 else None
    return b.op(
        b.one_of("ArgMax", "ArgMin"),
        x,
        axis=signed(b, axis, x.rank),
        keepdims=b.one_of(None, 0, 1),
        select_last_index=last,
    )


def one_hot(b: Builder) -> Value:
    b.since(9)
    ids = b.integers((np.int64,) if b.chance(0.8) else (np.int32, np.int64))
    depth = b.const(b.one_of(5, 16), np.int64, "depth")
    values = b.const(b.one_of((0, 1), (-1, 2)), np.float32, "off_on")
    return b.op("OneHot", ids, depth, values, axis=b.one_of(None, -1, 0, 1))


def cum_sum(b: Builder) -> Value:
    b.since(11)
    x = b.floats(1, 2, 3, 4)
    axis = b.random.randrange(x.rank)
    kinds = {"exclusive": b.one_of(None, 1), "reverse": b.one_of(None, 1)}
    return b.op("CumSum", x, b.const(signed(b, axis, x.rank), b.one_of(np.int64, np.int32), "axis"), **kinds)


def reverse_sequence(b: Builder) -> Value:
    b.since(10)
    x = b.floats(2, 3)
    b.need(x.dims[1] is not None)
    length = b.of_batch(b.ints(max(x.shape[1] - 1, 1)), x)
    return b.op("ReverseSequence", x, length, batch_axis=0, time_axis=1)


def compress(b: Builder) -> Value:
    b.since(9)
    x = b.floats(2, 3, 4)
    axis = _axis(b, x)
    keep = b.rng().random(x.shape[axis]) < 0.6
    keep[0] = True
    return b.op("Compress", x, b.const(keep, np.bool_, "keep"), axis=signed(b, axis, x.rank))


def non_zero(b: Builder) -> Value:
    """Positions of a constant mask: how many there are is known only when it runs."""
    b.since(9)
    x = b.floats(2, 3)
    b.need(x.dims[-1])
    mask = b.const((b.rng().random(x.shape[-1]) < 0.6) | (np.arange(x.shape[-1]) == 0), np.bool_, "mask")
    where = b.op("NonZero", mask)
    return b.op("Gather", x, b.op("Reshape", where, b.ints(-1)), axis=x.rank - 1)


def of_data_size(b: Builder) -> Value:
    """Rows chosen by their sign: the size depends on the numbers."""
    b.since(9)
    x = b.floats(2, 3)
    flat = b.op("Reshape", x, b.ints(-1))
    where = b.op("NonZero", b.op("Greater", flat, b.const(0.0, hint="c")))
    chosen = b.op("Gather", flat, b.op("Reshape", where, b.ints(-1)))
    return b.op("ReduceMax", chosen, keepdims=1)


def unique(b: Builder) -> Value:
    b.since(11)
    ids = b.integers((np.int64,))
    values = b.op("Unique", b.op("Reshape", ids, b.ints(-1)), sorted=1)
    return b.op("Cast", b.op("ReduceMax", values, keepdims=1), to=1)


def suppress(b: Builder) -> Any:
    """Boxes [1, n, 4] and scores of a head, and the positions of those that remain."""
    b.since(10)
    x = b.floats(3)
    b.need(x.dims[-1] is not None)
    size = x.shape[-1]
    low = b.op("Sigmoid", b.op("MatMul", x, b.weight(size, 2, fan_in=size)))
    extent = b.op("Sigmoid", b.op("MatMul", x, b.weight(size, 2, fan_in=size)))
    boxes = b.op("Concat", low, b.op("Add", low, extent), axis=2)
    scores = b.op("Transpose", b.op("Sigmoid", b.op("MatMul", x, b.weight(size, 3, fan_in=size))), perm=[0, 2, 1])
    limits = [
        b.const(numbers, dtype, "limit")
        for numbers, dtype in (([2], np.int64), ([0.5], np.float32), ([0.3], np.float32))
    ]
    chosen = b.op("NonMaxSuppression", boxes, scores, *limits, center_point_box=b.one_of(None, 0, 1))
    return boxes, scores, chosen


RECIPES = {
    "Gather": gather,
    "embedding": embedding,
    "embedding again": embedding,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TopK": top_k,
    "ArgMax": arg,
    "OneHot": one_hot,
    "CumSum": cum_sum,
    "ReverseSequence": reverse_sequence,
    "Compress": compress,
    "NonZero": non_zero,
    "NonZero of data": of_data_size,
    "Unique": unique,
    "NonMaxSuppression": suppress,
}
