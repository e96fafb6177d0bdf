"""Relu and Clip stand right behind the linear layer they belong to, where engines compute them for nothing.

For f non-decreasing and applied number by number, and g an operator that only moves numbers or takes the largest:

    f(g(W x + b)) = g(f(W x + b))

It applies to Relu and Clip with constant bounds behind Transpose, Reshape, Flatten, Squeeze, Unsqueeze and MaxPool, any
number of them, that start at a linear layer. It refuses where a value between has a second reader or is a model output,
and at a MaxPool whose positions are asked for: a Relu makes ties of what was told apart.
"""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.passes.layer import LINEAR, read, sole_reader

_ACTIVATIONS = ("Relu", "Clip")
_MOVERS = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "MaxPool")


def raise_activation(model: ir.Model) -> bool:
    """Move each activation up to its layer; whether one was moved."""
    changed = False
    for node in list(model.graph):
        if node.op_type in LINEAR and (layer := read(node)) is not None:
            changed |= _raise(model, layer.output)
    return changed


def _raise(model: ir.Model, start: ir.Value) -> bool:
    movers: list[ir.Node] = []
    reader = sole_reader(start)
    while reader is not None and reader.op_type in _MOVERS and len(reader.outputs) == 1:
        movers.append(reader)
        reader = sole_reader(reader.outputs[0])
    if not movers or reader is None or reader.op_type not in _ACTIVATIONS:
        return False
    if not all(v is None or queries.is_constant(v) for v in reader.inputs[1:]):
        return False
    last, result = movers[-1].outputs[0], reader.outputs[0]
    name = result.name
    ir.convenience.replace_all_uses_with(result, last, replace_graph_outputs=True)
    model.graph.remove(reader)
    movers[0].replace_input_with(0, result)
    reader.replace_input_with(0, start)
    producer = start.producer()
    assert producer is not None
    model.graph.insert_after(producer, reader)
    result.name, result.shape, result.type = f"{start.name}.{reader.op_type.lower()}", start.shape, start.type
    last.name = name
    return True
