"""Layers kept in float whose weights an engine would round all the same.

Between a DequantizeLinear of one scale and a QuantizeLinear an engine may take a layer with float weights for one
whose exporter forgot to quantize them, and round them with one scale for the whole tensor. It does not where the
dequantizer has a vector of scales, be they all equal: so that is what such a layer reads.
"""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, role
from fewbits.graph.queries import node_name

# Engines move dequantizers past what only moves values, and drop these or fold them into the layer behind them:
# Dropout always, Pad before a convolution, arithmetic with a constant where it changes nothing.
_FOLDED = ("Dropout",)
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def has_float_weights(node: ir.Node, integer: frozenset[str]) -> bool:
    """Whether this is a layer with constant weights outside of ``integer``, or only moves values to one."""
    if node_name(node) in integer:
        return False
    kind = role(node.op_type)
    if kind is Role.COMPUTE:
        return queries.is_constant(node.inputs[WEIGHT_INPUT])
    neutral = node.op_type in _ARITHMETIC and any(map(queries.is_constant, node.inputs))
    if kind is not Role.CARRY and node.op_type not in _FOLDED and not neutral:
        return False
    return any(has_float_weights(reader, integer) for value in node.outputs for reader in queries.users(value))
