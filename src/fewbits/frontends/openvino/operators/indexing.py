"""Gathering and scattering by indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value | Sequence[ir.Value]]


def _indices(op: Operation, w: Writer, index: int = 1) -> ir.Value:
    return w.cast(op.input(index), ir.DataType.INT64) if op.element(index) not in ("i32", "i64") else op.input(index)


def _gather(op: Operation, w: Writer) -> ir.Value:
    axis = op.axes(2)[0]
    batch = int(op.attributes.get("batch_dims", 0) or 0)
    batch += op.rank(1) if batch < 0 else 0
    if batch == 0:
        return w.op("Gather", op.input(0), _indices(op, w), axis=axis)
    op.refuse_unless(batch == axis, f"gathering along axis {axis} with {batch} batch axes")
    places = w.op("Unsqueeze", w.cast(op.input(1), ir.DataType.INT64), w.integers(-1))
    return w.op("GatherND", op.input(0), places, batch_dims=batch)


def _gather_nd(op: Operation, w: Writer) -> ir.Value:
    batch = int(op.attributes.get("batch_dims", 0) or 0)
    flattened = op.node.get_type_info().version_id == "opset5" and batch > 1
    op.refuse_unless(not flattened, "this version joins the batch axes of its result")
    return w.op("GatherND", op.input(0), w.cast(op.input(1), ir.DataType.INT64), batch_dims=batch)


def _gather_elements(op: Operation, w: Writer) -> ir.Value:
    return w.op("GatherElements", op.input(0), _indices(op, w), axis=int(op.attributes["axis"]))


_REDUCTIONS: Final = {"none": "none", "sum": "add", "prod": "mul", "min": "min", "max": "max"}


def _reduction(op: Operation) -> str:
    kind = str(op.attributes.get("reduction", "none")).lower()
    initial = bool(op.attributes.get("use_init_val", True))
    op.refuse_unless(kind in _REDUCTIONS and (initial or kind == "none"), f"scattering that reduces by {kind}")
    return _REDUCTIONS[kind]


def _scatter_elements(op: Operation, w: Writer) -> ir.Value:
    axis = op.axes(3)[0]
    inputs = (op.input(0), _indices(op, w), op.input(2))
    return w.op("ScatterElements", *inputs, axis=axis, reduction=_reduction(op))


def _scatter_nd(op: Operation, w: Writer) -> ir.Value:
    kind = str(op.attributes.get("reduction", "none")).lower()
    op.refuse_unless(kind in ("none", "sum", "prod"), f"scattering that reduces by {kind}")
    places = w.cast(op.input(1), ir.DataType.INT64)
    return w.op("ScatterND", op.input(0), places, op.input(2), reduction=_REDUCTIONS[kind])


def _scatter_update(op: Operation, w: Writer) -> ir.Value:
    """Whole slices along an axis: with that axis in front, ONNX's ScatterND writes them."""
    axis, rank, spread = op.axes(3)[0], op.rank(), op.rank(1)
    front = [axis, *(i for i in range(rank) if i != axis)]
    moved = [*range(axis, axis + spread), *(i for i in range(rank - 1 + spread) if not axis <= i < axis + spread)]
    data, updates = w.transpose(op.input(0), front), w.transpose(op.input(2), moved)
    places = w.op("Unsqueeze", w.cast(op.input(1), ir.DataType.INT64), w.integers(-1))
    written = w.op("ScatterND", data, places, updates)
    return w.transpose(written, [front.index(i) for i in range(rank)])


def _top_k(op: Operation, w: Writer) -> Sequence[ir.Value]:
    largest, order = str(op.attributes["mode"]).lower() == "max", str(op.attributes["sort"]).lower()
    op.refuse_unless(order != "index", "results in the order of their indices")
    count = w.integers(*op.integers(1)) if op.known(1) is not None else w.op("Reshape", w.int64(op, 1), w.integers(1))
    axis = int(op.attributes["axis"])
    values, indices = w.ops("TopK", [op.input(0), count], 2, axis=axis, largest=int(largest), sorted=1)
    indices.dtype = ir.DataType.INT64
    return [values, w.cast(indices, op.result_type(1))]


def _cum_sum(op: Operation, w: Writer) -> ir.Value:
    axis = w.constant(op.axes(1)[0], "int64")
    flags = {key: int(bool(op.attributes[key])) for key in ("exclusive", "reverse")}
    return w.op("CumSum", op.input(0), axis, **flags)


def _reverse_sequence(op: Operation, w: Writer) -> ir.Value:
    axes = [int(op.attributes[key]) % op.rank() for key in ("batch_axis", "seq_axis")]
    op.refuse_unless(sorted(axes) == [0, 1], "sequences and batches beyond the first two axes")
    lengths = w.cast(op.input(1), ir.DataType.INT64)
    return w.op("ReverseSequence", op.input(0), lengths, batch_axis=axes[0], time_axis=axes[1])


TABLE: Final[dict[str, Emit]] = {
    "CumSum": _cum_sum,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ReverseSequence": _reverse_sequence,
    "ScatterElementsUpdate": _scatter_elements,
    "ScatterNDUpdate": _scatter_nd,
    "ScatterUpdate": _scatter_update,
    "TopK": _top_k,
}
