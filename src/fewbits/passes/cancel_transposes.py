"""Transposes that undo each other across element-wise operators disappear.

With T a transpose by p and f applied number by number: f(T x) = T f(x), and T^-1 T = 1. A region is what can be reached
from a transpose through such operators, in both directions: behind its entries, all of them transposes by p (or
constants), every operator computes on the untransposed numbers, and each value that leaves is transposed by p.

It applies where fewer transposes come out than went in: an entry goes unless others read it, an exit that transposes
back goes, a mean or sum over axes whose others stand in order takes the transpose over, and any other exit gets one.
Concat's axis a becomes p[a]; a constant is transposed back. It refuses where an operand comes from elsewhere, where an
operand has fewer axes than the others, and where the count would not fall.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input

# fmt: off
_UNARY = frozenset({
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Exp", "Log",
    "Sqrt", "Abs", "Neg", "Reciprocal", "Softplus", "Softsign", "Floor", "Ceil", "Round", "Sign", "Identity", "Clip",
    "Cast", "Gelu", "Mish",
})
_JOINT = frozenset({"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "Sum", "Mean", "PRelu", "Where"})
_REDUCE = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"})
# fmt: on


@dataclass
class _Region:
    """Operators that will compute untransposed, the transposes before them, and where the result leaves."""

    perm: tuple[int, ...]
    inside: dict[ir.Node, None] = field(default_factory=dict)
    entries: dict[ir.Node, None] = field(default_factory=dict)
    undone: dict[ir.Node, None] = field(default_factory=dict)
    absorbing: dict[ir.Node, None] = field(default_factory=dict)
    leaving: dict[ir.Value, None] = field(default_factory=dict)


def cancel_transposes(model: ir.Model) -> bool:
    """Take out what cancels; whether anything did."""
    changed = False
    for node in list(model.graph):
        if node.graph is None or (perm := _perm(node)) is None:
            continue
        region = _grow(node, perm)
        if region is not None and _gain(region) > 0:
            _rewrite(model, region)
            changed = True
    return changed


def _perm(node: ir.Node | None) -> tuple[int, ...] | None:
    if node is None or node.op_type != "Transpose" or node.inputs[0] is None:
        return None
    perm = node.attributes.get("perm")
    shape = queries.dims(node.inputs[0])
    if perm is not None:
        return tuple(perm.as_ints())
    return None if shape is None else tuple(reversed(range(len(shape))))


def _grow(start: ir.Node, perm: tuple[int, ...]) -> _Region | None:
    """Everything that can be reached from a transpose; None where an operand comes from elsewhere."""
    region = _Region(perm)
    back = _inverse(perm)
    region.entries[start] = None
    waiting = [start.outputs[0]]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            region.leaving[value] = None
        for node in queries.users(value):
            if node in region.inside or node in region.undone or node in region.absorbing:
                continue
            if _perm(node) == back:
                region.undone[node] = None
            elif _absorbs(node, perm):
                region.absorbing[node] = None
            elif node.graph is not start.graph or _operands(node, perm) is None:
                region.leaving[value] = None
            elif not _take(region, node, waiting):
                return None
    return region


def _take(region: _Region, node: ir.Node, waiting: list[ir.Value]) -> bool:
    """Make a node and what stands above it part of the region; False where that cannot be."""
    above = [node]
    while above:
        node = above.pop()
        operands = _operands(node, region.perm)
        if operands is None:
            return False
        if node in region.inside:
            continue
        region.inside[node] = None
        waiting += node.outputs
        for operand in operands:
            producer = operand.producer()
            if producer is None:
                return False
            if _perm(producer) != region.perm:
                above.append(producer)
            elif producer not in region.entries:
                region.entries[producer] = None
                waiting.append(operand)
    return True


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(perm))


def _operands(node: ir.Node, perm: tuple[int, ...]) -> list[ir.Value] | None:
    """The activations of an operator that may compute untransposed; None for every other operator."""
    if node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
        return None
    if node.op_type in _UNARY:
        moving = [node.inputs[0]]
        if not all(v is None or queries.is_constant(v) for v in node.inputs[1:]):
            return None
    elif node.op_type in _JOINT or node.op_type == "Concat":
        moving = [v for v in node.inputs if not queries.is_constant(v)]
    else:
        return None
    for value in node.inputs:
        shape = None if value is None else queries.dims(value)
        whole = value in moving or node.op_type == "Concat"
        if value is not None and (shape is None or len(shape) > len(perm) or (whole and len(shape) != len(perm))):
            return None
    return [v for v in moving if v is not None]


def _absorbs(node: ir.Node, perm: tuple[int, ...]) -> bool:
    """A reduction over given axes that leaves the others in their order needs no transpose before it."""
    keep = node.attributes.get("keepdims")
    axes = _axes(node) if node.op_type in _REDUCE else None
    if not axes or keep is None or keep.as_int():
        return False
    over = {axis % len(perm) for axis in axes}
    left = [p for i, p in enumerate(perm) if i not in over]
    return left == sorted(left)


def _axes(node: ir.Node) -> list[int] | None:
    """The axes of a reduction: an attribute, or an input of a later operator set; None where they move or are all."""
    attribute = node.attributes.get("axes")
    if attribute is not None:
        return list(attribute.as_ints())
    array = queries.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else [int(axis) for axis in array.reshape(-1)]


def _stays(region: _Region, entry: ir.Node) -> bool:
    """Whether others read a transpose in front of the region, so that it has to stay."""
    value = entry.outputs[0]
    known = region.inside.keys() | region.undone.keys() | region.absorbing.keys()
    return value.is_graph_output() or any(user not in known for user in queries.users(value))


def _gain(region: _Region) -> int:
    """How many transposes fewer there would be."""
    gone = sum(not _stays(region, node) for node in region.entries)
    added = sum(value.producer() in region.inside for value in region.leaving)
    return gone + len(region.undone) - added


def _rewrite(model: ir.Model, region: _Region) -> None:
    names = [output.name for output in model.graph.outputs]
    plain = {n.outputs[0]: n.inputs[0] for n in region.entries}
    known = region.inside.keys() | region.undone.keys() | region.absorbing.keys()
    leaving = [value for value in region.leaving if value.producer() in region.inside]
    outside = {value: [(use.node, use.idx) for use in value.uses() if use.node not in known] for value in leaving}
    for node in region.inside:
        _turn_back(model, node, region.perm)
    for node in region.absorbing:
        axes = sorted(region.perm[axis % len(region.perm)] for axis in _axes(node) or ())
        if "axes" in node.attributes:
            node.attributes.add(ir.AttrInt64s("axes", axes))
        else:
            replace_input(model, node, 1, add_initializer(model, f"{node.name}.axes", np.array(axes, np.int64)))
    for node in (*region.inside, *region.undone, *region.absorbing):
        for index, value in enumerate(node.inputs):
            if value in plain:
                node.replace_input_with(index, plain[value])
    for value in leaving:
        _transpose_again(model, value, region.perm, outside[value])
    for node in region.undone:
        source = node.inputs[0]
        assert source is not None
        ir.convenience.replace_all_uses_with(node.outputs[0], source, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    for node in region.entries:
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            model.graph.remove(node, safe=True)
    _name_outputs(model, names)


def _turn_back(model: ir.Model, node: ir.Node, perm: tuple[int, ...]) -> None:
    """Constants, axis and shape of an operator that now computes untransposed."""
    back = _inverse(perm)
    for index, value in enumerate(node.inputs):
        array = queries.constant(value) if node.op_type not in _UNARY else None
        if array is not None and array.ndim and value is not None:
            full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            turned = add_initializer(model, f"{value.name}.transposed", full.transpose(back))
            node.replace_input_with(index, turned)
    if node.op_type == "Concat":
        node.attributes.add(ir.AttrInt64("axis", perm[node.attributes["axis"].as_int() % len(perm)]))
    shape = node.outputs[0].shape
    node.outputs[0].shape = None if shape is None else ir.Shape([shape[i] for i in back])


def _transpose_again(
    model: ir.Model, value: ir.Value, perm: tuple[int, ...], readers: list[tuple[ir.Node, int]]
) -> None:
    node = ir.node("Transpose", [value], {"perm": list(perm)}, name=f"{value.name}.transposed")
    result, producer = node.outputs[0], value.producer()
    assert producer is not None
    model.graph.insert_after(producer, node)
    result.type, result.shape = value.type, None if value.shape is None else ir.Shape([value.shape[i] for i in perm])
    for reader, place in readers:
        reader.replace_input_with(place, result)
    for index, output in enumerate(model.graph.outputs):
        if output is value:
            model.graph.outputs[index] = result
    value.name, result.name = f"{value.name}.plain", value.name


def _name_outputs(model: ir.Model, names: list[str | None]) -> None:
    """Model outputs keep their names; one that is now an input, or two that are now one value, get an Identity."""
    for index, (output, name) in enumerate(zip(list(model.graph.outputs), names, strict=True)):
        if output.name == name:
            continue
        if output.producer() is None or list(model.graph.outputs).count(output) > 1:
            node = ir.node("Identity", [output], name=f"{name}.same")
            node.outputs[0].type, node.outputs[0].shape = output.type, output.shape
            model.graph.append(node)
            model.graph.outputs[index] = output = node.outputs[0]
        output.name = name
