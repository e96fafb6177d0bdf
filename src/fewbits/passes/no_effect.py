"""Operators that give what they are given go: exactly, for every number, minus zero, infinity and NaN included.

x * 1, x / 1, x - 0 and x + (-0) are x. x + 0 is not where x is -0, unless numbers are whole; x + 1e-12 never is: it
guards a division. A constant that has more axes than x, or is larger along one, changes the shape. Sizes are trusted in
the main graph alone: in the body of a loop they may change from turn to turn.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import stand_in

_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_LAST = np.iinfo(np.int32).max


def drop_no_effect(model: ir.Model) -> bool:
    """Take them out; whether there were any."""
    changed = False
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        if node.graph is None or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Dropout" and len(node.outputs) > 1 and not _trains(node):
            _spell_out_mask(node)
        if any(v.uses() for v in node.outputs[1:]):
            continue
        if any(v.is_graph_output() for v in node.outputs[1:]):
            continue
        source = _unchanged(node, main=node.graph is model.graph)
        if source is not None and stand_in(node.outputs[0], source) and isinstance(node.graph, ir.Graph):
            node.graph.remove(node, safe=True)
            changed = True
    return changed


def _unchanged(node: ir.Node, *, main: bool) -> ir.Value | None:
    """The input a node gives on as it is; None where it does something."""
    value = node.inputs[0] if node.inputs else None
    if node.op_type in _NEUTRAL:
        return _neutral(node)
    if value is None:
        return None
    match node.op_type:
        case "Identity":
            return value
        case "Dropout":
            return None if _trains(node) else value
        case "Cast":
            return value if value.dtype is not None and value.dtype.value == node.attributes["to"].as_int() else None
        case "Concat" | "Sum" | "Max" | "Min" | "Mean":
            return value if len(node.inputs) == 1 else None
        case "Transpose":
            perm = node.attributes.get("perm")
            return value if perm is not None and list(perm.as_ints()) == list(range(len(perm.as_ints()))) else None
        case "Slice":
            return value if _whole(node) else None
        case "Expand" | "Reshape":
            return value if main and _keeps_shape(node, value) else None
        case _:
            return None


def _neutral(node: ir.Node) -> ir.Value | None:
    for value, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        array = queries.constant(other)
        if value is None or array is None or queries.is_constant(value):
            continue
        if node.op_type in ("Sub", "Div") and value is not node.inputs[0]:
            return None
        shape = queries.dims(value)
        if array.size != 1 and shape is None:
            return None
        if array.ndim > len(shape or ()):
            return None
        paired = zip(reversed(array.shape), reversed(shape or ()), strict=False)
        if any(size not in (1, own) for size, own in paired) or not bool((array == _NEUTRAL[node.op_type]).all()):
            return None
        if node.op_type in ("Add", "Sub") and array.dtype.kind == "f":
            signs = np.signbit(array)
            return value if bool(signs.all() if node.op_type == "Add" else not signs.any()) else None
        return value
    return None


def _trains(node: ir.Node) -> bool:
    """Whether a Dropout drops anything, or may."""
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None:
        return False
    known = queries.constant(mode)
    return known is None or bool(known.any())


def _spell_out_mask(node: ir.Node) -> None:
    """The mask of a Dropout that drops nothing is True everywhere."""
    mask, graph = node.outputs[1], node.graph
    if node.inputs[0] is None or not isinstance(graph, ir.Graph) or not (mask.uses() or mask.is_graph_output()):
        return
    size = ir.node("Shape", [node.inputs[0]])
    filled = ir.node("ConstantOfShape", size.outputs, {"value": ir.tensor(np.array([True]))})
    for made, name in ((size, "size"), (filled, "kept")):
        made.outputs[0].name = f"{mask.name}_{name}"
    filled.outputs[0].shape, filled.outputs[0].type = mask.shape, ir.TensorType(ir.DataType.BOOL)
    graph.insert_before(node, [size, filled])
    stand_in(mask, filled.outputs[0])


def _whole(node: ir.Node) -> bool:
    """Whether a Slice takes all of every axis."""
    starts, ends = (queries.constant(v) for v in node.inputs[1:3])
    steps = queries.constant(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    if starts is None or ends is None or steps is None:
        return False
    return bool((starts == 0).all() and (ends >= _LAST).all() and (steps == 1).all())


def _keeps_shape(node: ir.Node, value: ir.Value) -> bool:
    """Whether Expand or Reshape is asked for the sizes its input has."""
    shape, wanted = queries.dims(value), queries.constant(node.inputs[1])
    if shape is None or wanted is None or wanted.ndim != 1:
        return False
    sizes = [int(size) for size in wanted]
    if node.op_type == "Expand":
        own = shape[len(shape) - len(sizes) :]
        return len(sizes) <= len(shape) and all(size in (1, have) for size, have in zip(sizes, own, strict=True))
    zero = node.attributes.get("allowzero")
    if len(sizes) != len(shape) or (zero is not None and zero.as_int()):
        return False
    open_ones = [have for size, have in zip(sizes, shape, strict=True) if size == -1]
    same = all(size in (-1, 0, have) for size, have in zip(sizes, shape, strict=True))
    # The size left open is what remains, which nothing says where another size may be 0.
    return same and (not open_ones or all(have != 0 for have in shape))
