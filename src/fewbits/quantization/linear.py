"""Linear layers as graphs spell them: their weights by channel, their bias, and which multiply two activations."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT

_Number = TypeVar("_Number", bound=np.generic)


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


def weights_of(node: ir.Node) -> NDArray[np.float32]:
    """The constant weights of a COMPUTE node.

    Raises:
        ValueError: they are not constant.
    """
    array = queries.constant(node.inputs[WEIGHT_INPUT])
    if array is None:
        raise ValueError(f"{queries.node_name(node)} has no constant weights")
    return array


def by_channel(node: ir.Node, weights: NDArray[_Number]) -> NDArray[_Number] | None:
    """Weights as [G, O/G, I/G, K], a view: groups, their outputs, their inputs, positions of the kernel.

    None where each output does not read every position of the kernel once: ConvTranspose, stacks of matrices.
    """
    match node.op_type:
        case "Conv":
            groups = queries.group(node)
            return weights.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        case "Gemm" | "MatMul" if weights.ndim == 2:
            matrix = weights if queries.weight_axis(node) == 0 else weights.T
            return matrix[None, :, :, None]
        case _:
            return None
