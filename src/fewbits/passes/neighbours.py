"""Neighbours that cancel or combine: casts, transposes, reshapes, clips, padding before a convolution.

Each rewrite holds for every number a model may be fed; where that is not certain, the nodes stay. The value between two
nodes that become one has no other reader and is no output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.passes.layer import sole_reader
from fewbits.passes.no_effect import drop_no_effect

# A rewrite takes the first and the second node and says whether the second now does the work of both.
_Pair = Callable[[ir.Model, ir.Node, ir.Node], bool]


def merge_neighbours(model: ir.Model) -> bool:
    """Merge every pair; whether there was one."""
    changed = drop_no_effect(model)
    for node in list(model.graph):
        first = _before(node)
        while first is not None and _merge(model, first, node):
            changed = True
            first = _before(node)
    return drop_no_effect(model) or changed


def _before(node: ir.Node) -> ir.Node | None:
    """The node whose only output goes nowhere but into this one's first input."""
    value = node.inputs[0] if node.inputs and node.graph is not None else None
    first = None if value is None else value.producer()
    if value is None or first is None or first.graph is not node.graph or sole_reader(value) is not node:
        return None
    plain = all(n.domain in ("", "ai.onnx") for n in (first, node))
    return first if plain and len(first.outputs) == 1 and first.inputs and first.inputs[0] is not None else None


def _merge(model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    rewrite = _PAIRS.get((first.op_type, second.op_type))
    if rewrite is None or not rewrite(model, first, second):
        return False
    second.replace_input_with(0, first.inputs[0])
    model.graph.remove(first, safe=True)
    return True


def _casts(_model: ir.Model, first: ir.Node, _second: ir.Node) -> bool:
    """Cast to a type that holds every number of the one before, and on: the way round goes."""
    source, between = (None if v is None else v.dtype for v in (first.inputs[0], first.outputs[0]))
    return source is not None and between is not None and _holds(between, source)


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    if ir.DataType.BOOL in (wide, narrow):
        return wide == narrow
    try:
        kinds = [np.dtype(dtype.numpy()) for dtype in (wide, narrow)]
    except TypeError:
        return False
    if any(kind.kind not in "fiu" for kind in kinds):
        return False
    if kinds[0].kind == "f" and kinds[1].kind in "iu":
        return kinds[1].itemsize * 8 <= np.finfo(kinds[0]).nmant
    return bool(np.can_cast(kinds[1], kinds[0], "safe"))


def _transposes(_model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    one, two = (n.attributes.get("perm") for n in (first, second))
    if one is None or two is None:
        return False
    second.attributes.add(ir.AttrInt64s("perm", [one.as_ints()[i] for i in two.as_ints()]))
    return True


def _reshapes(model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    """The second shape says it all, but for a 0: that is a size of the value between."""
    wanted, between = queries.constant(second.inputs[1]), queries.dims(first.outputs[0])
    zero = second.attributes.get("allowzero")
    if wanted is None or (zero is not None and zero.as_int() and not wanted.all()):
        return False
    if wanted.all():
        return True
    sizes = [int(s) if s or between is None or i >= len(between) else between[i] for i, s in enumerate(wanted)]
    if None in sizes or 0 in sizes:
        return False
    replace_input(model, second, 1, add_initializer(model, f"{second.name}.shape", np.array(sizes, np.int64)))
    return True


def _bounds(node: ir.Node) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """What a Relu or Clip keeps numbers between; None where a bound moves, is NaN, or they cross."""
    kind = None if node.outputs[0].dtype is None else node.outputs[0].dtype.numpy()
    if kind is None or kind.kind not in "fiu":
        return None
    number = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    if node.op_type == "Relu":
        return np.array(0, kind), np.array(np.inf if kind.kind == "f" else number.max, kind)
    limits = (np.array(number.min, kind), np.array(number.max, kind))  # a bound left out is one
    found = []
    for index, limit in enumerate(limits, 1):
        value = node.inputs[index] if len(node.inputs) > index else None
        array = limit if value is None else queries.constant(value)
        if array is None or array.size != 1:
            return None
        found.append(array.reshape(()))
    return (found[0], found[1]) if bool(found[0] <= found[1]) else None


def _clips(model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    """clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)), unless that leaves one number only."""
    if first.op_type == second.op_type == "Relu":
        return True
    one, two = _bounds(first), _bounds(second)
    if one is None or two is None:
        return False
    low, high = (np.clip(bound, *two) for bound in one)
    if not bool(low < high):
        return False
    second.op_type = "Clip"
    second.resize_inputs(3)
    for index, (name, bound) in enumerate((("min", low), ("max", high)), 1):
        replace_input(model, second, index, add_initializer(model, f"{second.name}.{name}", np.asarray(bound)))
    return True


def _max_min(model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    """min(max(x, a), b), or the other way round, is clip(x, a, b) for numbers a <= b."""
    found = []
    for node in (first, second):
        array = queries.constant(node.inputs[1]) if len(node.inputs) == 2 else None
        if array is None or array.size != 1 or array.dtype.kind != "f":
            return False
        found.append(array)
    low, high = found if first.op_type == "Max" else reversed(found)
    shape = queries.dims(first.inputs[0]) if first.inputs[0] is not None else None
    if not bool(low.reshape(()) <= high.reshape(())) or shape is None or max(low.ndim, high.ndim) > len(shape):
        return False
    second.op_type = "Clip"
    second.resize_inputs(3)
    for index, bound in enumerate((low, high), 1):
        made = add_initializer(model, f"{second.name}.{('min', 'max')[index - 1]}", bound.reshape(()))
        replace_input(model, second, index, made)
    return True


def _pad_convolution(_model: ir.Model, first: ir.Node, second: ir.Node) -> bool:
    """Zeros around the spatial axes are what a convolution pads with itself."""
    mode, auto = first.attributes.get("mode"), second.attributes.get("auto_pad")
    shape = queries.dims(first.inputs[0]) if first.inputs[0] is not None else None
    pads = queries.constant(first.inputs[1])
    value, over = (first.inputs[i] if len(first.inputs) > i else None for i in (2, 3))
    filling = np.zeros(1) if value is None else queries.constant(value)
    axes = None if over is None else queries.constant(over)
    if (mode is not None and mode.as_string() != "constant") or (auto is not None and auto.as_string() != "NOTSET"):
        return False
    if shape is None or pads is None or filling is None or filling.any() or (over is not None and axes is None):
        return False
    places = range(len(shape)) if axes is None else [int(a) % len(shape) for a in axes]
    whole = np.zeros((2, len(shape)), np.int64)
    whole[:, list(places)] = pads.reshape(2, -1)
    if bool((whole < 0).any()) or bool(whole[:, :2].any()):
        return False
    given = second.attributes.get("pads")
    own = np.zeros((2, len(shape) - 2), np.int64) if given is None else np.array(given.as_ints()).reshape(2, -1)
    second.attributes.add(ir.AttrInt64s("pads", [int(p) for p in (whole[:, 2:] + own).reshape(-1)]))
    return True


_PAIRS: Final[dict[tuple[str, str], _Pair]] = {
    ("Cast", "Cast"): _casts,
    ("Transpose", "Transpose"): _transposes,
    ("Reshape", "Reshape"): _reshapes,
    ("Flatten", "Reshape"): _reshapes,
    ("Relu", "Relu"): _clips,
    ("Relu", "Clip"): _clips,
    ("Clip", "Relu"): _clips,
    ("Clip", "Clip"): _clips,
    ("Max", "Min"): _max_min,
    ("Min", "Max"): _max_min,
    ("Pad", "Conv"): _pad_convolution,
}
