"""How large a whole number can be, as far as the graph tells."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.hazards.walk import MOVES, summands

_SMALL = {ir.DataType.BOOL: 1.0, ir.DataType.INT8: 128.0, ir.DataType.UINT8: 255.0, ir.DataType.INT4: 8.0}
_SMALL |= {ir.DataType.UINT4: 15.0}
_DEEPEST = 64
Bound = Callable[[int], float]


def largest_whole(value: ir.Value | None, depth: int = 0) -> float:
    """The largest magnitude of an integer value; infinite where nothing bounds it, as of a model's input."""
    if value is None:
        return 0.0
    array = queries.constant(value)
    if array is not None:
        return float(np.abs(array.astype(np.float64)).max(initial=0.0))
    if value.dtype in _SMALL:
        return _SMALL[value.dtype]
    node = value.producer()
    if node is None or depth > _DEEPEST:
        return math.inf

    def of(index: int) -> float:
        return largest_whole(node.inputs[index] if index < len(node.inputs) else None, depth + 1)

    return _made(node, value, of)


def _made(node: ir.Node, value: ir.Value, of: Bound) -> float:
    everything = [of(index) for index in range(len(node.inputs))] if node.op_type in _OF_ALL else []
    match node.op_type:
        case "Shape" | "Size" | "NonZero":
            return _sizes(node)
        case "ArgMax" | "ArgMin" | "TopK":
            return _along_axis(node)
        case "Gather" if _of_shape(node) is not None:
            return _of_shape(node) or 0.0
        case "Cast" | "CastLike":
            source = node.inputs[0]
            return math.inf if source is None or source.dtype in _FLOATS else of(0)
        case "Concat" | "Max" | "Range":
            return max(everything, default=0.0)
        case "Where":
            return max(everything[1:])
        case "Add" | "Sub" | "Sum":
            return sum(everything)
        case "Mul":
            return math.prod(everything) if all(everything) else 0.0
        case "Min":  # a large negative number stays one
            return max(everything)
        case "Mod":
            return everything[1]
        case "Clip":
            bounds = [of(index) for index in (1, 2) if index < len(node.inputs) and node.inputs[index] is not None]
            return min(of(0), max(bounds)) if len(bounds) == 2 else of(0)
        case "OneHot":
            return of(2)
        case "ReduceSum" | "CumSum":
            count = summands(node) if node.op_type == "ReduceSum" else queries.numel(value)
            return of(0) * (count if count and value.shape is not None else math.inf)
        case "Pad":
            return max(of(0), of(2))
        case op if op in MOVES or op in ("Neg", "Abs", "ReduceMax", "ReduceMin", "GatherND", "GatherElements", "Trilu"):
            return of(0)
    return math.inf


_OF_ALL = frozenset({"Concat", "Max", "Min", "Range", "Where", "Add", "Sub", "Sum", "Mul", "Mod"})
_FLOATS = frozenset({None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16})


def _sizes(node: ir.Node) -> float:
    """Sizes of the first input, and positions in it: at most its largest axis, of ``Size`` their product."""
    shape = None if node.inputs[0] is None else queries.dims(node.inputs[0])
    if shape is None or None in shape:
        return math.inf
    sizes = [float(size) for size in shape if size is not None]
    return math.prod(sizes) if node.op_type == "Size" else max(sizes, default=0.0)


def _along_axis(node: ir.Node) -> float:
    """A position along the axis that the node searches."""
    shape = None if node.inputs[0] is None else queries.dims(node.inputs[0])
    axis = node.attributes.get("axis")
    size = shape[axis.as_int() if axis is not None else -1 if node.op_type == "TopK" else 0] if shape else None
    return math.inf if size is None else float(size)


def _of_shape(node: ir.Node) -> float | None:
    """One size out of a shape, where that size is known."""
    source, index = node.inputs[0], queries.constant(node.inputs[1])
    maker = None if source is None else source.producer()
    if maker is None or maker.op_type != "Shape" or maker.inputs[0] is None or index is None or maker.attributes:
        return None
    shape = queries.dims(maker.inputs[0])
    picked = [None] if shape is None else [shape[int(at)] for at in index.reshape(-1)]
    return max(math.inf if size is None else float(size) for size in picked)
