"""Activations that an engine computes inside the integer kernel before them: where such a chain begins and ends."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.engines.capability import Capability
from fewbits.graph import queries


def after_activations(value: ir.Value, capability: Capability) -> ir.Value:
    """The value after the activations the engine fuses behind ``value``'s producer."""
    while True:
        following = queries.users(value)
        if value.is_graph_output():
            return value
        if len(following) == 1 and following[0].op_type in capability.activations:
            value = following[0].outputs[0]
        elif (product := swish(value)) is not None and "Sigmoid" in capability.activations:
            value = product
        else:
            return value


def before_activations(value: ir.Value, capability: Capability) -> ir.Value:
    """The value before the activations that end in ``value``."""
    while (node := value.producer()) is not None:
        source = None
        if node.op_type in capability.activations:
            source = node.inputs[0]
        elif node.op_type == "Mul" and "Sigmoid" in capability.activations:
            source = next((v for v in node.inputs if v is not None and swish(v) is value), None)
        if source is None or after_activations(source, capability) is source:
            return value
        value = source
    return value


def swish(value: ir.Value) -> ir.Value | None:
    """The output of ``value * Sigmoid(value)`` where that is all ``value`` is used for."""
    following = queries.users(value)
    gate = next((node for node in following if node.op_type == "Sigmoid"), None)
    product = next((node for node in following if node.op_type == "Mul"), None)
    if len(following) == 2 and gate is not None and product is not None:
        gated = gate.outputs[0]
        if gated in product.inputs and queries.users(gated) == [product]:
            return product.outputs[0]
    return None


def swish_product(node: ir.Node) -> bool:
    """Whether ``node`` is the Mul of ``x * Sigmoid(x)``."""
    return node.op_type == "Mul" and any(v is not None and swish(v) is node.outputs[0] for v in node.inputs)
