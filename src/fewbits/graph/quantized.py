"""Is a model quantized already? Its operators, scaled integer weights and the formula of a quantizer show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx_ir as ir

from fewbits.graph import queries

# Operators of quantized models, whatever their domain.
QUANTIZED: Final = frozenset(
    # ONNX: the arithmetic of 8 bits, and what goes in and out of it
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    # OpenVINO's own
    | {"FakeQuantize", "FakeConvert"}
    # ONNX Runtime's, static and dynamic
    | {"QGemm", "QAttention", "QEmbedLayerNormalization", "QMoE", "MatMulInteger16", "MatMulIntegerToFloat"}
    | {"MulInteger", "ReduceSumInteger", "QuantizeWithOrder", "DequantizeWithOrder", "QuantizeBFP", "DequantizeBFP"}
    # weights of 8 bits and less
    | {"MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized", "GemmFloat8"}
)
# Families of them: QLinearConv, QOrderedGelu, DynamicQuantizeLSTM, MatMulNBitsQkv, MatMulBlockQuantizedFp4Weight.
_FAMILIES: Final = ("QLinear", "QOrdered", "DynamicQuantize", "MatMulNBits", "MatMulBlockQuantized")
_FLOATS: Final = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_SMALL: Final = frozenset(
    {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2}
    | {ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ}
    | {ir.DataType.FLOAT4E2M1}
)
_SCALES: Final = frozenset({"Mul", "Div"})
_ELEMENTWISE: Final = _SCALES | {"Add", "Sub", "Clip", "Min", "Max"}
# A table of a few numbers (a palette, a mask) that is cast and scaled is no quantized weight.
_LEAST_WEIGHTS: Final = 64


def is_quantized(model: ir.Model) -> bool:
    """Whether a part of the model is quantized: in the graph, in a branch or loop, or in a local function."""
    return any(_quantized(node) for node in _everywhere(model))


def quantized_node(model: ir.Model) -> str:
    """The first node that shows it, as ``name (operator)``; empty where there is none."""
    found = next((node for node in _everywhere(model) if _quantized(node)), None)
    return "" if found is None else f"{queries.node_name(found)} ({found.op_type})"


def _everywhere(model: ir.Model) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _quantized(node: ir.Node) -> bool:
    named = node.op_type in QUANTIZED or node.op_type.startswith(_FAMILIES)
    return named or _scales_integers(node) or _rounds_to_a_grid(node)


def _scales_integers(node: ir.Node) -> bool:
    """Whether it casts stored integers of 8 bits or less to float, and they are scaled: q -> s * (q - z)."""
    if node.op_type != "Cast" or not node.inputs or "to" not in node.attributes:
        return False
    if ir.DataType(node.attributes["to"].as_int()) not in _FLOATS:
        return False
    stored = node.inputs[0]
    tensor = None if stored is None else ir.convenience.get_const_tensor(stored)
    if tensor is None or tensor.dtype not in _SMALL or tensor.size < _LEAST_WEIGHTS:
        return False
    return any(reader.op_type in ("Mul", "Sub") for reader in _beyond_moves(node))


def _rounds_to_a_grid(node: ir.Node) -> bool:
    """Whether it is the middle of s * round(clip(x / s)), written out: scaled, limited on either side, scaled back."""
    if node.op_type != "Round":
        return False
    before, after = _chain_before(node), _chain_after(node)
    limited = {"Clip"} <= {*before, *after} or {"Min", "Max"} <= {*before, *after}
    return limited and not _SCALES.isdisjoint(before) and not _SCALES.isdisjoint(after)


def _chain_before(node: ir.Node) -> list[str]:
    """The operators with one number or vector beside the moving value, upwards from a node."""
    found: list[str] = []
    while (made := node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None) is not None:
        if made.op_type not in _ELEMENTWISE or not all(map(_known, made.inputs[1:])):
            break
        found.append(made.op_type)
        node = made
    return found


def _chain_after(node: ir.Node) -> list[str]:
    found: list[str] = []
    while len(readers := queries.users(node.outputs[0])) == 1:
        node = readers[0]
        if node.op_type not in _ELEMENTWISE or not all(map(_known, node.inputs[1:])):
            break
        found.append(node.op_type)
    return found


def _known(value: ir.Value | None) -> bool:
    return value is None or queries.is_constant(value)


def _beyond_moves(node: ir.Node) -> Iterator[ir.Node]:
    """The readers of a node's result, where need be behind operators that only move numbers."""
    for reader in queries.users(node.outputs[0]):
        if reader.op_type in ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Gather"):
            yield from _beyond_moves(reader)
        else:
            yield reader
