"""Linear layers as graphs spell them: where the bias of a MatMul is, and which MatMul multiplies two activations."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT


def bias_of(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The node and input that hold the bias of a COMPUTE node, None where it has none.

    Conv and Gemm hold it themselves. x [B, T, K] times w [K, N] plus b [N] is exported as MatMul and Add, which
    engines compute as one kernel: there the Add holds it.
    """
    if node.op_type != "MatMul":
        held = node.inputs[BIAS_INPUT] if len(node.inputs) > BIAS_INPUT else None
        return None if held is None else (node, BIAS_INPUT)
    product = node.outputs[0]
    readers = queries.users(product)
    if multiplies_activations(node) or product.is_graph_output() or len(readers) != 1 or readers[0].op_type != "Add":
        return None
    weights, (add,) = queries.dims_or_raise(node.inputs[WEIGHT_INPUT]), readers
    for index, value in enumerate(add.inputs):
        if len(weights) == 2 and queries.is_constant(value) and queries.dims_or_raise(value) == weights[-1:]:
            return add, index
    return None


def multiplies_activations(node: ir.Node) -> bool:
    """Whether the weights' place holds an activation, as in attention's Q K^T and P V."""
    return not queries.is_constant(node.inputs[WEIGHT_INPUT])
