"""Shapes and types: what changes how numbers are seen, not the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _reshape(op: Operation, w: Writer) -> ir.Value:
    keep_zero = not op.attributes["special_zero"]
    known = op.known(1)
    literal = keep_zero and (known is None or 0 in op.integers(1))
    return w.op("Reshape", op.input(0), w.int64(op, 1), allowzero=1 if literal else None)


def _transpose(op: Operation, w: Writer) -> ir.Value:
    return w.op("Transpose", op.input(0), perm=op.axes(1) or list(range(op.rank()))[::-1])


def _squeeze(op: Operation, w: Writer) -> ir.Value:
    if not op.has(1):
        return w.op("Squeeze", op.input(0))
    dims = op.dims(0) or ()
    axes = [axis for axis in op.axes(1) if dims[axis] in (1, None)]
    return w.squeeze(op.input(0), *axes) if axes else w.op("Identity", op.input(0))


def _unsqueeze(op: Operation, w: Writer) -> ir.Value:
    return w.unsqueeze(op.input(0), *op.axes(1, op.rank() + op.constant(1).size))


def _shape_of(op: Operation, w: Writer) -> ir.Value:
    return w.cast(w.op("Shape", op.input(0)), op.result_type()) if _narrow(op) else w.op("Shape", op.input(0))


def _narrow(op: Operation) -> bool:
    return op.result_type() != ir.DataType.INT64


def _convert(op: Operation, w: Writer) -> ir.Value:
    """A cast; none where a value was dequantized by 1 only to be rounded back to its integers."""
    value, target = op.input(0), op.result_type()
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear" and producer.inputs[0] is not None:
        scale, zero = (_number(given) for given in producer.inputs[1:3])
        if producer.inputs[0].dtype == target and scale == 1 and zero == 0:
            return producer.inputs[0]
    return w.op("Cast", value, to=int(target))


def _number(value: ir.Value | None) -> float | None:
    array = None if value is None or value.const_value is None else value.const_value.numpy()
    return float(array.ravel()[0]) if array is not None and array.size == 1 else None


def _range(op: Operation, w: Writer) -> ir.Value:
    target = op.result_type()
    return w.op("Range", *(w.cast(op.input(index), target) for index in range(3)))


def _broadcast(op: Operation, w: Writer) -> ir.Value:
    mode = str(op.attributes.get("mode", "numpy")).lower()
    value = op.input(0)
    if mode == "explicit":
        mapping, rank = op.integers(2), len(op.result_dims() or ())
        op.refuse_unless(mapping == sorted(mapping), "axes that change their order")
        value = w.unsqueeze(value, *(axis for axis in range(rank) if axis not in mapping))
    op.refuse_unless(mode in ("numpy", "bidirectional", "explicit"), f"{mode} broadcasting has no counterpart in ONNX")
    return w.op("Expand", value, w.int64(op, 1))


def _tile(op: Operation, w: Writer) -> ir.Value:
    value, rank = op.input(0), op.rank()
    if op.known(1) is None:
        return w.op("Tile", value, w.int64(op, 1))
    repeats = op.integers(1)
    value = w.unsqueeze(value, *range(len(repeats) - rank))
    return w.op("Tile", value, w.integers(*(1,) * (rank - len(repeats)), *repeats))


def _one_hot(op: Operation, w: Writer) -> ir.Value:
    values = np.stack([op.constant(3).ravel()[0], op.constant(2).ravel()[0]])
    depth = w.integers(*op.integers(1))
    axis = int(op.attributes["axis"])
    # A negative index is no class in OpenVINO and counts from the end in ONNX; both agree on what labels are.
    return w.op("OneHot", w.cast(op.input(0), ir.DataType.INT64), depth, w.constant(values), axis=axis)


def _non_zero(op: Operation, w: Writer) -> ir.Value:
    places = w.op("NonZero", op.input(0))
    return w.cast(places, op.result_type()) if _narrow(op) else places


TABLE: Final[dict[str, Emit]] = {
    "Broadcast": _broadcast,
    "Convert": _convert,
    "ConvertLike": _convert,
    "Identity": lambda op, w: w.op("Identity", op.input(0)),
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "Range": _range,
    "Reshape": _reshape,
    "ShapeOf": _shape_of,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
