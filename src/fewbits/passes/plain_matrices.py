"""A stack of one matrix is that matrix: integer kernels take weights [K, N], exporters write [1, K, N] now and then.

For x of at least as many axes as the stack, x [..., M, K] W [1, K, N] = x W [K, N], with the same shape.
"""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import WEIGHT_INPUT


def plain_matrices(model: ir.Model) -> bool:
    """Drop the leading ones of constant weights of MatMul; whether there were any."""
    changed = False
    for node in model.graph:
        weights = node.inputs[WEIGHT_INPUT] if node.op_type == "MatMul" else None
        source = node.inputs[0] if weights is not None else None
        if weights is None or source is None or not queries.is_constant(weights):
            continue
        shape, read = queries.dims(weights), queries.dims(source)
        if shape is None or read is None or len(shape) < 3 or any(size != 1 for size in shape[:-2]):
            continue
        array = queries.constant(weights) if len(read) >= len(shape) else None
        if array is not None:
            plain = add_initializer(model, f"{weights.name}.plain", array.reshape(array.shape[-2:]))
            replace_input(model, node, WEIGHT_INPUT, plain)
            changed = True
    return changed
