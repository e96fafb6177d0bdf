"""Cutting and joining along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value | Sequence[ir.Value]]

_END = np.iinfo(np.int64).max


def _strided_slice(op: Operation, w: Writer) -> ir.Value:
    """TensorFlow's slice: its items, [1:5, ..., newaxis, 3], become ranges, then axes to drop and to add."""
    masks = {key: _mask(op, key) for key in ("begin", "end", "new_axis", "shrink_axis", "ellipsis")}
    if op.known(1) is None or op.known(2) is None:
        return _moving_slice(op, w, masks)
    begin, end = op.integers(1), op.integers(2)
    strides = op.integers(3) if op.has(3) else [1] * len(begin)
    places, ranges, dropped, added, axis, result = [], [], [], [], 0, 0
    taken = sum(1 for i in range(len(begin)) if not masks["new_axis"](i) and not masks["ellipsis"](i))
    for i in range(len(begin)):
        if masks["ellipsis"](i):
            skipped = op.rank() - taken
            axis, result = axis + skipped, result + skipped
        elif masks["new_axis"](i):
            added.append(result)
            result += 1
        else:
            if masks["shrink_axis"](i):
                ranges.append((begin[i], begin[i] + 1 if begin[i] != -1 else _END, 1))
                dropped.append(axis)
            else:
                ranges.append(_range(begin[i], end[i], strides[i], masks["begin"](i), masks["end"](i)))
                result += 1
            places.append(axis)
            axis += 1
    kept = [(place, r) for place, r in zip(places, ranges, strict=True) if r != (0, _END, 1)]
    value = op.input(0)
    if kept:
        starts, ends, steps = zip(*(r for _, r in kept), strict=True)
        axes = [place for place, _ in kept]
        value = w.op("Slice", value, *(w.integers(*numbers) for numbers in (starts, ends, axes, steps)))
    value = w.unsqueeze(w.squeeze(value, *dropped), *added)
    return value if value is not op.input(0) else w.op("Identity", value)


def _range(begin: int, end: int, step: int, from_start: bool, to_end: bool) -> tuple[int, int, int]:
    start = (0 if step > 0 else _END) if from_start else begin
    stop = (_END if step > 0 else -_END) if to_end else end
    return start, stop, step


def _mask(op: Operation, key: str) -> Callable[[int], bool]:
    bits = list(op.attributes.get(f"{key}_mask") or [])
    return lambda index: index < len(bits) and bool(bits[index])


def _moving_slice(op: Operation, w: Writer, masks: dict[str, Callable[[int], bool]]) -> ir.Value:
    """Places that are computed while the model runs; masked ones keep their side of the axis."""
    count = op.sizes(1)[0]
    strides = op.integers(3) if op.has(3) else [1] * count
    plain = not any(masks[key](i) for key in ("new_axis", "shrink_axis", "ellipsis") for i in range(count))
    op.refuse_unless(plain and min(strides) > 0, "places computed while the model runs, with axes dropped or added")
    sides = []
    for index, key, edge in ((1, "begin", 0), (2, "end", _END)):
        mask = np.array([masks[key](i) for i in range(count)])
        fixed = w.constant(np.full(count, edge, np.int64))
        sides.append(w.op("Where", w.constant(mask), fixed, w.int64(op, index)) if mask.any() else w.int64(op, index))
    return w.op("Slice", op.input(0), *sides, w.integers(*range(count)), w.integers(*strides))


def _slice(op: Operation, w: Writer) -> ir.Value:
    starts, stops, steps = (w.int64(op, index) for index in (1, 2, 3))
    axes = w.int64(op, 4) if op.has(4) else w.integers(*range(op.sizes(1)[0]))
    return w.op("Slice", op.input(0), starts, stops, axes, steps)


def _split(op: Operation, w: Writer) -> Sequence[ir.Value]:
    axis, count = op.axes(1)[0], int(op.attributes["num_splits"])
    size = (op.dims(0) or ())[axis]
    if size is None:
        op.refuse_unless(w.opset < 18, "an axis of free size")
        return w.ops("Split", [op.input(0)], count, axis=axis)
    return w.ops("Split", [op.input(0), w.integers(*(size // count,) * count)], count, axis=axis)


def _variadic_split(op: Operation, w: Writer) -> Sequence[ir.Value]:
    axis, lengths = op.axes(1)[0], op.integers(2)
    if -1 in lengths:
        size = (op.dims(0) or ())[axis]
        op.refuse_unless(size is not None, "the rest of an axis of free size", fix="fix the input sizes when exporting")
        lengths[lengths.index(-1)] = (size or 0) - sum(length for length in lengths if length >= 0)
    return w.ops("Split", [op.input(0), w.integers(*lengths)], len(lengths), axis=axis)


def _concat(op: Operation, w: Writer) -> ir.Value:
    return w.op("Concat", *(op.input(index) for index in range(len(op))), axis=int(op.attributes["axis"]))


def _pad(op: Operation, w: Writer) -> ir.Value:
    mode = str(op.attributes["pad_mode"]).lower()
    op.refuse_unless(mode != "symmetric", "ONNX has no padding that repeats the edge in mirror order")
    pads = w.integers(*op.integers(1), *op.integers(2)) if _fixed(op) else _moving_pads(op, w)
    value = op.input(3) if op.has(3) and mode == "constant" else None
    return w.op("Pad", op.input(0), pads, value, mode=mode)


def _fixed(op: Operation) -> bool:
    return op.known(1) is not None and op.known(2) is not None


def _moving_pads(op: Operation, w: Writer) -> ir.Value:
    return w.op("Concat", w.int64(op, 1), w.int64(op, 2), axis=0)


def _reverse(op: Operation, w: Writer) -> ir.Value:
    mask = str(op.attributes["mode"]).lower() == "mask"
    axes = [i for i, bit in enumerate(op.constant(1).ravel()) if bit] if mask else op.axes(1)
    count = len(axes)
    back: list[Any] = [w.integers(*(number,) * count) for number in (-1, -_END)]
    return w.op("Slice", op.input(0), *back, w.integers(*axes), w.integers(*(-1,) * count))


def _roll(op: Operation, w: Writer) -> ir.Value:
    """Cut in two along each axis and joined the other way round."""
    value, shifts, axes = op.input(0), op.integers(1), op.axes(2)
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    for axis, shift in zip(axes, shifts, strict=True):
        size = op.sizes()[axis]
        cut = (size - shift) % size if size else 0
        if cut:
            value = w.op("Concat", w.slice(value, axis, cut), w.slice(value, axis, 0, cut), axis=axis)
    return value if value is not op.input(0) else w.op("Identity", value)


TABLE: Final[dict[str, Emit]] = {
    "Concat": _concat,
    "Pad": _pad,
    "Reverse": _reverse,
    "Roll": _roll,
    "Slice": _slice,
    "Split": _split,
    "StridedSlice": _strided_slice,
    "VariadicSplit": _variadic_split,
}
