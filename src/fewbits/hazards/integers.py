"""Whole numbers that pass through floating point: FP16 counts to 2048 without a gap, BF16 to 256."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.counting import largest_whole
from fewbits.hazards.ranges import HEADROOM
from fewbits.hazards.records import Extremes, Finding, Level, Seen
from fewbits.hazards.walk import MOVES, ahead, data_input, inside, names, outer_product, region, spreads
from fewbits.numerics import BF16, FP16, FloatFormat, round_to

_WHOLE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT32)
_INDEXED = {"Gather": 0, "GatherElements": 0, "GatherND": 0, "ScatterND": 0, "ScatterElements": 0}
_THROUGH = MOVES | {"Add", "Sub", "Mul", "Clip", "Min", "Max", "Floor", "Div", "Mod"}
_COORDINATES = frozenset({"Add", "Sub", "Mul", "Div", "Concat", "Where", "Equal", "Mod", "Gather"})
# Coordinates lie on whole numbers or between them: centres of cells on halves, of finer cells on eighths.
_GRID = 8


def counts_to(format: FloatFormat) -> int:
    """The number up to which all whole numbers are exact: 2048 for FP16, 256 for BF16."""
    return round(2 / format.epsilon)


def integers(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Floats that become indices, tables of coordinates, and ranges of floats."""
    for node in model.graph:
        if node.op_type == "Cast" and node.outputs[0].dtype in _WHOLE and _floats(node.inputs[0]):
            yield from _index(node, seen)
        elif node.op_type == "Range" and _floats(node.outputs[0]):
            yield from _range(node)
        for inner in (node, *inside(node)):
            if inner.op_type in ("Cast", "CastLike") and _floats(inner.outputs[0]):
                yield from _count(inner, node, seen)
    for value in model.graph.initializers.values():
        yield from _table(value)


def _count(node: ir.Node, outer: ir.Node, seen: Seen) -> Iterator[Finding]:
    """An integer that is cast to a float: a position, a time, a length; it is FP32 until the numbers are small.

    Args:
        outer: the node of the main graph that is the cast, or holds it in a subgraph.
    """
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.dtype not in _WHOLE:
        return
    known = seen.get(result.name or "")
    reach = min(largest_whole(source), _size_of_table(source))
    reach = reach if known is None else min(known.peak * HEADROOM, reach)
    fp16, bf16 = (None if reach <= counts_to(format) else _sure(known, format) for format in (FP16, BF16))
    if fp16 is None and bf16 is None:
        return
    how = "is not bounded by the graph" if known is None else f"reaches {known.peak:.0f}"
    how = f"may reach {reach:.0f}" if known is None and math.isfinite(reach) else how

    def stays_large(user: ir.Node, value: ir.Value) -> bool:
        known = [seen[v.name or ""] for v in user.outputs if v.name in seen]
        large = all(extremes.peak * HEADROOM > counts_to(FP16) for extremes in known)
        divided = user.op_type == "Div" and user.inputs[0] is value and queries.is_constant(user.inputs[1])
        return large and (divided or spreads(user, value) or outer_product(user))

    yield Finding(
        "integers",
        node_name(outer),
        node.op_type,
        reach if math.isfinite(reach) else 0.0,
        f"an integer becomes a float and {how}; FP16 counts exactly to 2048, BF16 to 256",
        "keep these nodes in FP32, or bring the numbers to a small range before the cast",
        fp16,
        bf16,
        value=result.name or "",
        keep=region(outer, stays_large) if fp16 is not None else (),
    )


def _size_of_table(value: ir.Value) -> float:
    """The size of the smallest table the integer is a position in, as it is or beside an offset; else infinite."""
    sizes = [_indexed(user, source) for user, source in ahead(value, MOVES | {"Add"})]
    return min((size for size in sizes if size), default=math.inf)


def _sure(known: Extremes | None, format: FloatFormat) -> Level:
    return "certain" if known is not None and known.peak > counts_to(format) else "possible"


def _index(node: ir.Node, seen: Seen) -> Iterator[Finding]:
    """A float that is cast to an integer: how far it counts by the data, else by the size of what it indexes."""
    source = data_input(node)
    known = seen.get((source.name or "") if source is not None else "")
    reach, how = (known.peak, "reaches") if known is not None else (_size_of_indexed(node), "may reach")
    fp16, bf16 = (_level(reach, format, known is not None) for format in (FP16, BF16))
    if fp16 is None and bf16 is None:
        return
    what = f"{how} {reach:.0f}" if math.isfinite(reach) else "is not bounded"
    yield Finding(
        "integers",
        node_name(node),
        "Cast",
        reach if math.isfinite(reach) else 0.0,
        f"a float becomes an integer and {what}; FP16 counts exactly to 2048, BF16 to 256",
        "compute indices in integers, or keep these nodes in FP32",
        fp16,
        bf16,
        value=(source.name or "") if source is not None else "",
        keep=(*names(_computing(node)), node_name(node)),
    )


def _level(reach: float, format: FloatFormat, seen: bool) -> Level | None:
    if reach <= counts_to(format):
        return None
    if math.isinf(reach):
        return "information"
    return "certain" if seen else "possible"


def _size_of_indexed(node: ir.Node) -> float:
    """The largest axis that the integer may index; infinite where nothing says so, 0 where it is no index."""
    sizes = [_indexed(user, source) for user, source in ahead(node.outputs[0], frozenset(_THROUGH))]
    return max(sizes, default=0.0)


def _indexed(user: ir.Node, index: ir.Value) -> float:
    """The axis, or the largest of the axes, in which a node takes this value for a position; 0 where it does not."""
    at = _INDEXED.get(user.op_type)
    if at is None or index is user.inputs[at]:
        return 0.0
    data = user.inputs[at]
    shape = None if data is None else queries.dims(data)
    axis = user.attributes.get("axis")
    if shape is None:
        return math.inf
    picked = shape if axis is None and user.op_type != "Gather" else [shape[axis.as_int() if axis else 0]]
    return max(math.inf if size is None else float(size) for size in picked)


def _computing(node: ir.Node) -> list[ir.Node]:
    """The float nodes an index is computed by, up to where it became a float."""
    found: dict[ir.Node, None] = {}
    waiting = [node]
    while waiting:
        for value in waiting.pop().inputs:
            producer = None if value is None else value.producer()
            if producer is None or producer in found or producer.op_type not in _THROUGH | {"Range", "Round", "Ceil"}:
                continue
            found[producer] = None
            if any(map(_floats, producer.inputs)):
                waiting.append(producer)
    return list(found)


def _range(node: ir.Node) -> Iterator[Finding]:
    length = queries.dims(node.outputs[0])
    limit = queries.constant(node.inputs[1])
    reach = float(limit.reshape(())) if limit is not None else float(length[0] or 0) if length else 0.0
    fp16, bf16 = (_level(reach, format, seen=False) for format in (FP16, BF16))
    if fp16 is None and bf16 is None:
        return
    yield Finding(
        "integers",
        node_name(node),
        "Range",
        reach,
        f"a range of floats counts to {reach:.0f}; FP16 is exact to 2048, BF16 to 256",
        "make the range of integers, or keep it in FP32",
        fp16,
        bf16,
        keep=region(node),
    )


def _table(value: ir.Value) -> Iterator[Finding]:
    """A constant of whole or evenly spaced numbers that is added or compared: coordinates, offsets, codes."""
    array = queries.constant(value)
    readers = list(dict.fromkeys(n for n, _ in ahead(value, MOVES) if n.op_type in _COORDINATES))
    if array is None or value.dtype != ir.DataType.FLOAT or array.size < 2 or not readers:
        return
    with np.errstate(invalid="ignore", over="ignore"):
        grid = array * _GRID
        placed = bool(np.isfinite(grid).all() and (grid == np.round(grid)).all())
    if not placed or np.abs(array).max() > FP16.max:
        return
    fp16, bf16 = (_inexact(array, format) for format in (FP16, BF16))
    if not fp16 and not bf16:
        return
    reach = float(np.abs(array).max())
    what = "whole numbers" if (array == np.round(array)).all() else f"numbers in steps of 1/{_GRID}"
    yield Finding(
        "integers",
        node_name(readers[0]),
        readers[0].op_type,
        reach,
        f"{value.name} holds {what} up to {reach:.0f}: FP16 rounds {fp16:.0%} of them, BF16 {bf16:.0%}",
        "keep the coordinates in FP32, or store them relative to a near origin",
        "possible" if fp16 else None,
        "possible" if bf16 else None,
        value=value.name or "",
        keep=tuple(dict.fromkeys(name for reader in readers for name in region(reader))) if fp16 else (),
    )


def _inexact(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]], format: FloatFormat) -> float:
    return float((round_to(array, format) != array).mean())


def _floats(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT
