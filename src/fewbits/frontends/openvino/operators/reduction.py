"""Reductions along constant axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _reduce(op_type: str) -> Emit:
    def emit(op: Operation, w: Writer) -> ir.Value:
        axes, keep = op.axes(1), bool(op.attributes["keep_dims"])
        if not axes:
            return w.op("Identity", op.input(0))
        if op_type == "ReduceMean" and op.is_float() and _is_pooling(axes, op):
            pooled = w.op("GlobalAveragePool", op.input(0))
            return pooled if keep else w.squeeze(pooled, *axes)
        return w.reduce(op_type, op.input(0), axes, keep=keep)

    return emit


def _is_pooling(axes: list[int], op: Operation) -> bool:
    """All axes behind batch and channels; engines know that as a pooling, which passes 8-bit integers on."""
    rank = op.rank()
    return rank == 4 and sorted(axes) == [2, 3]


def _logical(op_type: str) -> Emit:
    """Any or all of booleans: the largest or smallest of 0 and 1."""

    def emit(op: Operation, w: Writer) -> ir.Value:
        numbers = w.op("Cast", op.input(0), to=int(ir.DataType.INT32))
        reduced = w.reduce(op_type, numbers, op.axes(1), keep=bool(op.attributes["keep_dims"]))
        return w.op("Cast", reduced, to=int(ir.DataType.BOOL))

    return emit


TABLE: Final[dict[str, Emit]] = {
    **{name: _reduce(name) for name in ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")},
    "ReduceSum": _reduce("ReduceSum"),
    "ReduceLogicalAnd": _logical("ReduceMin"),
    "ReduceLogicalOr": _logical("ReduceMax"),
}
