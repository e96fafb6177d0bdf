"""Operators that move numbers and change none."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..builder import Builder
from ..values import Value


def axes_op(b: Builder, kind: str, x: Value, axes: list[int], since: int = 13, **attributes: Any) -> Value:
    """Squeeze and its like: the axes are an attribute before an opset and an input from it on."""
    if b.opset < since:
        return b.op(kind, x, axes=axes, **attributes)
    return b.op(kind, x, b.ints(*axes), **attributes)


def signed(b: Builder, axis: int, rank: int) -> int:
    """The axis, or the same counted from the end; before opset 11 operators knew no negative ones."""
    return axis - rank if b.opset >= 11 and b.chance(0.3) else axis


def unsqueeze_to(b: Builder, x: Value, rank: int) -> Value:
    if x.rank == rank:
        return x
    found: Value = axes_op(b, "Unsqueeze", x, list(range(x.rank, rank)))
    return found


def anything(b: Builder) -> Value:
    return b.pick(lambda v: v.rank >= 1 and v.probes[0].size > 0 and v.dtype in (np.float32, np.float32, np.int64))


def transpose(b: Builder) -> Value:
    x = anything(b)
    b.need(x.rank >= 2)
    perm = list(range(x.rank))
    if b.chance(0.5):
        b.random.shuffle(perm)
        if b.chance(0.5) and x.rank > 2:
            perm.remove(0)
            perm.insert(0, 0)
        return b.op("Transpose", x, perm=perm)
    return b.op("Transpose", x, perm=b.one_of(None, [*perm[:-2], perm[-1], perm[-2]]))


def reshape(b: Builder) -> Value:
    x = anything(b)
    b.need(x.rank >= 2)
    known = [size for size in x.dims[1:] if size is not None]
    count = int(np.prod(known)) if len(known) == x.rank - 1 else 0
    options: list[list[int]] = [[0, -1], [-1, 0] if x.rank == 2 else [0, 0, -1]]
    if count:
        options += [[-1, count], [0, count], [-1]]
        options += [[0, -1, d] for d in (2, 3, 4) if count % d == 0]
        options += [[0, d, -1, 1] for d in (2, 3, 4) if count % d == 0]
        if x.rank == 2:
            options += [[0, d, e, -1] for d in (2, 3, 4) for e in (2, 4) if count % (d * e) == 0]
    return b.op("Reshape", x, b.ints(*b.one_of(*options)))


def flatten(b: Builder) -> Value:
    x = anything(b)
    return b.op("Flatten", x, axis=b.one_of(None, None, 1, 0, min(2, x.rank), x.rank))


def squeeze(b: Builder) -> Value:
    x = b.pick(lambda v: v.rank >= 2 and 1 in v.dims)
    axes = [axis for axis, size in enumerate(x.dims) if size == 1]
    if b.chance(0.15):
        return b.op("Squeeze", x)
    return axes_op(b, "Squeeze", x, [signed(b, b.one_of(*axes), x.rank)])


def unsqueeze(b: Builder) -> Value:
    x = anything(b)
    b.need(x.rank <= 4)
    axes = [b.random.randrange(x.rank + 1)] if b.chance(0.7) else [0, x.rank + 1]
    return axes_op(b, "Unsqueeze", x, [signed(b, a, x.rank + len(axes)) for a in axes])


def slices(b: Builder) -> Value:
    x = anything(b)
    axis = b.random.randrange(x.rank)
    if x.dims[axis] is None and b.chance(0.8):
        axis = x.rank - 1
    size = x.shape[axis]
    start, end = b.one_of((0, max(size // 2, 1)), (1, size), (-2, 1 << 31), (0, -1), (size // 3, 1000))
    if b.opset < 10:
        return b.op(
            "Slice", x, starts=[start], ends=[end], axes=b.one_of([axis], [axis]) if axis or b.chance(0.5) else None
        )
    step = b.one_of(None, None, 1, 2, -1)
    if step == -1:
        start, end = size + 5, -(1 << 31)
    dtype = b.one_of(np.int64, np.int64, np.int32)
    if end > 2**31 - 1:
        end = 2**31 - 1
    parts = [
        b.const([n], dtype, "part") for n in (start, end, signed(b, axis, x.rank), *([] if step is None else [step]))
    ]
    return b.op("Slice", x, *parts)


def split(b: Builder) -> Any:
    x = anything(b)
    axis = x.rank - 1 if b.chance(0.5) else b.random.randrange(x.rank)
    b.need(x.dims[axis] is not None and x.shape[axis] >= 2)
    size, count = x.shape[axis], b.one_of(2, 2, 3)
    b.need(size >= count)
    axis_attribute = signed(b, axis, x.rank)
    if b.chance(0.5) and size % count == 0:
        more = {"num_outputs": count} if b.opset >= 18 else {}
        return b.ops("Split", x, axis=axis_attribute, outputs=count, **more)
    sizes = [1] * (count - 1)
    sizes.insert(b.random.randrange(count), size - count + 1)
    if b.opset < 13:
        return b.ops("Split", x, axis=axis_attribute, split=sizes, outputs=count)
    return b.ops("Split", x, b.ints(*sizes), axis=axis_attribute, outputs=count)


def concat(b: Builder) -> Value:
    x = anything(b)
    axis = b.random.randrange(x.rank)

    def fits(v: Value) -> bool:
        alike = all(p == q for i, (p, q) in enumerate(zip(v.shape, x.shape, strict=True)) if i != axis)
        return alike and v.dims[:axis] == x.dims[:axis]

    others = [v for v in b.scope if v.dtype == x.dtype and v.rank == x.rank and not v.constant and fits(v)]
    parts = [x, *(b.one_of(*others) for _ in range(b.one_of(1, 1, 2)))]
    if b.chance(0.2) and None not in x.dims:
        parts.append(b.const(b.rng().normal(0, 1, x.shape), x.dtype, "c"))
    b.random.shuffle(parts)
    return b.op("Concat", *parts, axis=signed(b, axis, x.rank))


def pad(b: Builder) -> Value:
    x = b.floats()
    b.need(1 <= x.rank <= 5)
    modes = ["constant", "constant", "reflect", "edge", *(["wrap"] if b.opset >= 19 else [])]
    mode = b.one_of(*modes)
    axes = [axis for axis in range(1, x.rank) if min(p.shape[axis] for p in x.probes) >= 3]
    b.need(axes)
    padded = axes[-2:] if b.chance(0.6) else [b.one_of(*axes)]
    before = {axis: b.one_of(0, 1, 2, *([-1] if b.chance(0.3) else [])) for axis in padded}
    after = {axis: b.one_of(0, 1, 1, *([-1] if b.chance(0.3) else [])) for axis in padded}
    fill = b.one_of(None, 0.0, 0.5, -2.0)
    if b.opset >= 18 and b.chance(0.4):
        pads = b.ints(*(before[a] for a in padded), *(after[a] for a in padded))
        value = None if fill is None or mode != "constant" else b.const(fill, hint="fill")
        return b.op("Pad", x, pads, value, b.ints(*(signed(b, a, x.rank) for a in padded)), mode=mode)
    numbers = [*(before.get(a, 0) for a in range(x.rank)), *(after.get(a, 0) for a in range(x.rank))]
    if b.opset < 11:
        return b.op("Pad", x, pads=numbers, mode=mode, value=fill if mode == "constant" else None)
    value = None if fill is None or mode != "constant" else b.const(fill, hint="fill")
    return b.op("Pad", x, b.ints(*numbers), value, mode=mode if b.chance(0.8) or mode != "constant" else None)


def pad_max_pool(b: Builder) -> Value:
    """Max pooling of size "same" as some exporters write it: Pad with -inf before it."""
    b.since(11)
    x = b.floats(4)
    fill = b.const(b.one_of(-np.inf, -3.4028234663852886e38, -1e30), hint="fill")
    padded = b.op("Pad", x, b.ints(0, 0, 0, 0, 0, 0, 1, 1), fill, anything=True)
    return b.op("MaxPool", padded, kernel_shape=[3, 3], strides=b.one_of([2, 2], [1, 1]))


def tile(b: Builder) -> Value:
    x = anything(b)
    repeats = [1] * x.rank
    repeats[b.random.randrange(x.rank)] = b.one_of(2, 3)
    return b.op("Tile", x, b.ints(*repeats))


def expand(b: Builder) -> Value:
    b.since(8)
    x = anything(b)
    b.need(x.rank <= 4)
    if b.chance(0.5) and 1 in x.dims:
        sizes = [3 if size == 1 and b.chance(0.7) else 1 for size in x.dims]
        return b.op("Expand", x, b.ints(*sizes))
    return b.op("Expand", x, b.ints(2, *[1] * x.rank))


def depth_space(b: Builder) -> Value:
    x = b.floats(4)
    if b.chance(0.5):
        b.need(x.dims[1] is not None and x.shape[1] <= 64)
        if x.shape[1] % 4:
            x = b.op("Conv", x, b.weight(8, x.shape[1], 1, 1))
        mode = b.one_of(None, "DCR", "CRD") if b.opset >= 11 else None
        return b.op("DepthToSpace", x, blocksize=2, mode=mode)
    b.need(all(p.shape[2] % 2 == 0 and p.shape[3] % 2 == 0 for p in x.probes))
    return b.op("SpaceToDepth", x, blocksize=2)


def shuffle(b: Builder) -> Value:
    """Channel shuffle: Reshape, Transpose, Reshape."""
    x = b.floats(4)
    b.need(None not in x.dims[1:] and x.shape[1] <= 64)
    if x.shape[1] % 2:
        x = b.op("Conv", x, b.weight(6, x.shape[1], 1, 1))
    _, c, h, w = x.shape
    y = b.op("Reshape", x, b.ints(0, 2, c // 2, h, w))
    y = b.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return b.op("Reshape", y, b.ints(0, c, h, w))


RECIPES = {
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slices,
    "Split": split,
    "Concat": concat,
    "Pad": pad,
    "Pad again": pad,
    "Pad, MaxPool": pad_max_pool,
    "Tile": tile,
    "Expand": expand,
    "DepthToSpace": depth_space,
    "shuffle": shuffle,
}
