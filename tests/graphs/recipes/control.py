"""Bodies (If, Loop, Scan), sequences, optionals and local functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..builder import Builder
from ..values import Value, element_type


def _info(name: str, value: Value | None = None, kind: int = 1) -> onnx.ValueInfoProto:
    shape = [None] * value.rank if value else [] if kind in (7, 9) else None
    return helper.make_tensor_value_info(name, element_type(value) if value else kind, shape)


def _body(b: Builder, x: Value, source: str, target: str, kind: str) -> list[onnx.NodeProto]:
    """One step on x: an activation, or a scaling by a constant of the body's own."""
    if kind == "Mul":
        factor = numpy_helper.from_array(np.asarray(b.one_of(0.5, 0.9, -0.7), np.float32), f"{target}_factor")
        constant = helper.make_node("Constant", [], [f"{target}_factor"], value=factor)
        return [constant, helper.make_node("Mul", [source, f"{target}_factor"], [target])]
    return [helper.make_node(kind, [source], [target])]


def if_else(b: Builder) -> Value:
    """A condition that is a constant, or computed from the shape, or from the numbers; bodies read x from outside."""
    x = b.floats()
    way = b.one_of("constant", "rank", "numbers")
    if way == "constant":
        condition = b.const(b.chance(0.5), np.bool_, "condition")
    elif way == "rank":
        count = b.op("Size", b.op("Shape", x))
        condition = b.op("Greater" if b.opset >= 9 else "Equal", count, b.const(2, np.int64, "two"))
    else:
        total = b.op("ReduceMax", x, keepdims=0)
        condition = b.op("Greater", total, b.const(-5.0, hint="c"))
    y = b.fresh("chosen")
    branches: dict[str, Any] = {}
    for branch in ("then", "else"):
        nodes = _body(b, x, x.name, f"{y}_{branch}", b.one_of("Relu", "Tanh", "Mul", "Identity"))
        branches[f"{branch}_branch"] = helper.make_graph(nodes, branch, [], [_info(f"{y}_{branch}", x)])
    node = b.node("If", [condition], [y], **branches)
    return b.run([node], [y])[0]


def loop(b: Builder) -> Any:
    """A fixed number of rounds over one carried value; sometimes what every round gave, stacked."""
    x = b.floats()
    trip = b.const(b.one_of(1, 2, 3), np.int64, "trips")
    y = b.fresh("carried")
    names = [f"{y}_{part}" for part in ("i", "cond_in", "in", "cond_out", "out")]
    i, cond_in, inner, cond_out, out = names
    nodes = [
        helper.make_node("Identity", [cond_in], [cond_out]),
        *_body(b, x, inner, out, b.one_of("Tanh", "Mul", "Relu")),
    ]
    outputs, results = [_info(cond_out, kind=9), _info(out, x)], [y]
    if b.chance(0.4):
        nodes.append(helper.make_node("Identity", [out], [f"{y}_scan"]))
        outputs.append(_info(f"{y}_scan", x))
        results.append(b.fresh("stacked"))
    inputs = [_info(i, kind=7), _info(cond_in, kind=9), _info(inner, x)]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    condition = b.const(True, np.bool_, "condition") if b.chance(0.7) else None
    node = b.node("Loop", [trip, condition, x], results, body=body)
    return b.run([node], results)


def scan(b: Builder) -> Any:
    """A running sum along an axis."""
    b.since(9)
    x = b.floats(2, 3)
    axis = b.random.randrange(x.rank) if x.dims[0] is not None else 0
    b.need(None not in [size for a, size in enumerate(x.dims) if a != axis])
    state = b.const(np.zeros([n for a, n in enumerate(x.shape) if a != axis]), hint="state")
    last, stacked = b.fresh("last"), b.fresh("scanned")
    nodes = [
        helper.make_node("Add", [f"{last}_s", f"{last}_x"], [f"{last}_t"]),
        helper.make_node("Tanh", [f"{last}_t"], [f"{last}_o"]),
    ]
    body = helper.make_graph(
        nodes, "body", [_info(f"{last}_s"), _info(f"{last}_x")], [_info(f"{last}_t"), _info(f"{last}_o")]
    )
    attributes: dict[str, Any] = {"scan_input_axes": [axis], "scan_output_axes": [b.one_of(0, axis)]}
    if b.chance(0.3):
        attributes["scan_input_directions"] = [1]
    node = b.node("Scan", [state, x], [last, stacked], num_scan_inputs=1, body=body, **attributes)
    return b.run([node], [last, stacked])


def sequence(b: Builder) -> Value:
    """Tensors into a sequence and out of it again."""
    b.since(11)
    x = b.floats(1, 2, 3, 4)
    y, s, t = b.fresh("from_sequence"), b.fresh("sequence"), b.fresh("sequence")
    way = b.one_of("construct", "split", "insert", "length")
    nodes: list[onnx.NodeProto] = []
    if way == "split":
        axis = b.random.randrange(x.rank)
        nodes.append(b.node("SplitToSequence", [x], [s], axis=axis, keepdims=1))
        nodes.append(b.node("ConcatFromSequence", [s], [y], axis=axis))
    elif way == "construct":
        other = b.one_of(*[v for v in b.scope if v.is_float and v.shape == x.shape and not v.constant])
        nodes.append(b.node("SequenceConstruct", [x, other], [s]))
        nodes.append(b.node("ConcatFromSequence", [s], [y], axis=0, new_axis=b.one_of(None, 1)))
    elif way == "length":
        count, number = b.fresh("length"), b.fresh("number")
        nodes.append(b.node("SequenceConstruct", [x, x], [s]))
        nodes.append(b.node("SequenceErase", [s, b.const(0, np.int64, "i")], [t]))
        nodes.append(b.node("SequenceLength", [t], [count]))
        nodes.append(b.node("Cast", [count], [number], to=1))
        nodes.append(b.node("Mul", [x, number], [y]))
    else:
        nodes.append(b.node("SequenceEmpty", [], [s]))
        nodes.append(b.node("SequenceInsert", [s, x], [t]))
        nodes.append(b.node("SequenceAt", [t, b.const(0, np.int64, "i")], [y]))
    return b.run(nodes, [y])[0]


def optional(b: Builder) -> Value:
    b.since(15)
    x = b.floats()
    y, o = b.fresh("from_optional"), b.fresh("optional")
    nodes = [b.node("Optional", [x], [o]), b.node("OptionalGetElement", [o], [y])]
    if b.chance(0.3):
        has, number, inner = b.fresh("has"), b.fresh("number"), b.fresh("element")
        nodes[1] = b.node("OptionalGetElement", [o], [inner])
        nodes += [b.node("OptionalHasElement", [o], [has]), b.node("Cast", [has], [number], to=1)]
        nodes.append(b.node("Mul", [inner, number], [y]))
    return b.run(nodes, [y])[0]


def function(b: Builder) -> Value:
    """A local function of a domain of its own: a small layer."""
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and v.shape[-1] <= 64)
    # Local functions are of IR version 8; the operators in them may be of any opset.
    imports = [helper.make_opsetid("", b.opset)]
    body = [helper.make_node("MatMul", ["p", "q"], ["t"]), helper.make_node(b.one_of("Relu", "Tanh"), ["t"], ["o"])]
    name = b.fresh("Layer").replace("/", "_")
    made = helper.make_function("local", name, ["p", "q"], ["o"], body, imports)
    y = b.fresh("called")
    node = b.node(name, [x, b.weight(x.shape[-1], 6, fan_in=x.shape[-1])], [y], domain="local")
    return b.run([node], [y], [made])[0]


RECIPES = {
    "If": if_else,
    "Loop": loop,
    "Scan": scan,
    "sequence": sequence,
    "Optional": optional,
    "function": function,
}
