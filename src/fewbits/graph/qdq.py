"""QuantizeLinear/DequantizeLinear pairs in a graph: insert, strip, read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.numerics import INT32, QParams, quantize

LEVEL_KEY = "quantization_level"
REASON_KEY = "quantization_reason"
_INT32_LIMIT = float(2**31 - 1)


def insert(model: ir.Model, value: ir.Value, params: QParams) -> ir.Value:
    """Put Q and DQ behind ``value``; every reader but the model's own outputs reads the result.

    Returns:
        The dequantized value.
    """
    readers = list(value.uses())
    result = append(model, value, params)
    for node, index in readers:
        node.replace_input_with(index, result)
    return result


def append(model: ir.Model, value: ir.Value, params: QParams) -> ir.Value:
    """Put Q and DQ behind ``value`` and return the dequantized value; nobody reads it yet."""
    scale, zero = _parameters(model, value.name or "value", params)
    quantize = ir.node("QuantizeLinear", [value, scale, zero], name=f"{value.name}_QuantizeLinear")
    quantized = quantize.outputs[0]
    quantized.name, quantized.shape = f"{value.name}_quantized", value.shape
    quantized.type = ir.TensorType(_dtype(params))
    dequantize = ir.node("DequantizeLinear", [quantized, scale, zero], name=f"{value.name}_DequantizeLinear")
    result = dequantize.outputs[0]
    result.name, result.shape, result.type = f"{value.name}_dequantized", value.shape, value.type
    producer = value.producer()
    if producer is None:
        model.graph.insert_before(model.graph[0], [quantize, dequantize])
    else:
        model.graph.insert_after(producer, [quantize, dequantize])
    return result


def spread(model: ir.Model, value: ir.Value, axis: int, uses: Iterable[tuple[ir.Node, int]]) -> None:
    """Let these uses of a dequantized value read the same numbers through a DQ with a vector of equal scales.

    Value [1, C, H, W], axis 1 → scale [C]. The given DQ goes if nobody reads it any more.

    Raises:
        ValueError: the value does not come from a DQ with constants, or is of unknown size along the axis.
    """
    shared = value.producer()
    size = queries.dims_or_raise(value)[axis]
    if shared is None or shared.op_type != "DequantizeLinear" or size is None:
        raise ValueError(f"{value.name} is no dequantized value of known size")
    parameters = []
    for single in shared.inputs[1:]:
        array = queries.constant(single)
        if single is None or array is None:
            raise ValueError(f"{value.name} is dequantized with a scale or zero point that is not constant")
        parameters.append(add_initializer(model, f"{single.name}_per_channel", np.full(size, array)))
    inputs = [shared.inputs[0], *parameters]
    dequantize = ir.node("DequantizeLinear", inputs, {"axis": axis}, name=f"{shared.name}_per_channel")
    result = dequantize.outputs[0]
    result.name, result.shape, result.type = f"{value.name}_per_channel", value.shape, value.type
    model.graph.insert_after(shared, dequantize)
    for node, index in uses:
        node.replace_input_with(index, result)
    if not value.uses():
        model.graph.remove(shared, safe=True)


def onto_integers(model: ir.Model, node: ir.Node) -> None:
    """Let a node that moves values between DQ and Q of one scale work on the 8-bit numbers; both go.

    Zeros that a Pad adds become the zero point. A node whose result is read in float as well stays as it is.
    """
    source, value = node.inputs[0], node.outputs[0]
    dequantize = None if source is None else source.producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or value.is_graph_output():
        return
    readers = queries.users(value)
    if [reader.op_type for reader in readers] != ["QuantizeLinear"]:
        return
    integers, _, zero = dequantize.inputs
    assert integers is not None and zero is not None
    replace_input(model, node, 0, integers)
    if node.op_type == "Pad":
        replace_input(model, node, 2, zero)
    quantized = readers[0].outputs[0]
    value.type = quantized.type
    quantized.replace_all_uses_with(value)
    model.graph.remove(readers[0], safe=True)
    if not dequantize.outputs[0].uses():
        model.graph.remove(dequantize, safe=True)


def insert_constant(model: ir.Model, node: ir.Node, index: int, array: NDArray[np.generic], params: QParams) -> None:
    """Feed input ``index`` of ``node`` from integers and a DequantizeLinear instead of floats."""
    old = node.inputs[index]
    name = old.name if old is not None and old.name else f"{node.name}_{index}"
    integers = add_initializer(model, f"{name}_quantized", array)
    scale, zero = _parameters(model, name, params)
    attributes = {} if params.axis is None else {"axis": params.axis}
    dequantize = ir.node(
        "DequantizeLinear", [integers, scale, zero], attributes, name=f"{integers.name}_DequantizeLinear"
    )
    result = dequantize.outputs[0]
    result.name, result.shape = f"{integers.name}_dequantized", ir.Shape(array.shape)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.insert_before(node, dequantize)
    replace_input(model, node, index, result)


def insert_bias(model: ir.Model, node: ir.Node, index: int, source: QParams, weights: QParams) -> None:
    """b_q = round(b / (s_x s_w)), the scale at which a kernel accumulates (Jacob et al. 2018, eq. 11).

    A bias that is no vector of one number per scale, or would leave 32 bits, stays in float.
    """
    bias = queries.constant(node.inputs[index])
    if bias is None or bias.ndim != 1:
        return
    scale = (np.float64(source.scale) * weights.scale.astype(np.float64)).astype(np.float32)
    if scale.size != bias.size or np.any(scale < 2.0**-126) or np.any(np.abs(bias) / scale > _INT32_LIMIT):
        return  # rare: it costs the fused kernel
    params = QParams(scale, np.zeros(scale.shape, np.int32), INT32, 0)
    insert_constant(model, node, index, quantize(bias, params), params)


def room_for_bias(weights: QParams, source: QParams, bias: NDArray[np.floating[Any]]) -> QParams:
    """Raise the scale of a channel whose bias would leave no room in the 32-bit sum: |b| <= 2**30 s_x s_w.

    Only channels with next to no weights (they died in training) are touched; these become zeros. A bias that has not
    one number per scale changes nothing.
    """
    least = np.maximum(np.abs(bias.astype(np.float64)) / 2.0**30, 2.0**-120) / float(source.scale)
    if bias.ndim != 1 or least.size != weights.scale.size:
        return weights
    return replace(weights, scale=np.maximum(weights.scale, least).astype(np.float32))


def _parameters(model: ir.Model, name: str, params: QParams) -> tuple[ir.Value, ir.Value]:
    return (
        add_initializer(model, f"{name}_scale", params.scale),
        add_initializer(model, f"{name}_zero_point", params.zero_point),
    )


def _dtype(params: QParams) -> ir.DataType:
    return ir.DataType.from_numpy(params.format.dtype)


def quantized_values(model: ir.Model) -> dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]]:
    """Scale and zero point of every activation that carries Q/DQ, by the value's name."""
    found = {}
    for node in model.graph:
        if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
            continue
        scale, zero = queries.constant(node.inputs[1]), queries.constant(node.inputs[2])
        if scale is not None and zero is not None:
            found[node.inputs[0].name or ""] = (scale, zero)
    return found
