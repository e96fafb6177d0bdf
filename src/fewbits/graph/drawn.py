"""Outputs that depend on random numbers drawn while the model runs: two runs of the same file differ there."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

_DRAWING: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


def drawn_outputs(model: ir.Model) -> frozenset[str]:
    """The outputs that a random operator has a part in, by name."""
    random = {key for key, function in model.functions.items() if any(_draws(node, set()) for node in function)}
    found: set[ir.Value] = set()
    for node in model.graph:
        if _draws(node, random) or any(value in found for value in node.inputs):
            found |= set(node.outputs)
    return frozenset(value.name or "" for value in model.graph.outputs if value in found)


def _draws(node: ir.Node, functions: set[ir.OperatorIdentifier]) -> bool:
    if node.op_type in _DRAWING or node.op_identifier() in functions:
        return True
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
        return True  # in training mode, if that input says so
    graphs = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    return any(_draws(inner, functions) for graph in graphs for inner in graph)
