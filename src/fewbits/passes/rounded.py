"""An FP16 graph as FP32 operators that round every result to FP16: FP16 arithmetic where the host has none.

Engines without FP16 arithmetic run an FP16 graph in FP32 and leave out the casts between operators, so nothing
overflows there that would on a device. Casts to FP16 and back that stand in an FP32 graph are carried out by ONNX
Runtime (OpenVINO drops them). Inside an operator sums are in FP32, as most devices with FP16 accumulate.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.numerics import FP16
from fewbits.passes.to_half import compute_fp16

# ONNX Runtime (1.32) crashes where this fusion meets transpositions and casts; what is run here nobody deploys.
SAFE: Final = (("optimization.disable_specified_optimizers", "MatmulTransposeFusion"),)
_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
# Attributes that say the type of a result.
_TYPES = ("to", "dtype", "output_datatype", "output_dtype")


def rounded(half: ir.Model) -> ir.Model:
    """A copy of what ``compute_fp16`` made, all in FP32, with each FP16 result rounded; names of values stay."""
    model = half.clone()
    _widen(model.graph)
    return model


def _widen(graph: ir.Graph) -> None:
    """Make a graph and those inside it FP32."""
    for value in graph.initializers.values():
        array = queries.constant(value)
        if array is not None and value.dtype == _HALF:
            value.type = ir.TensorType(_FLOAT)
            value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
    for node in list(graph):
        for attribute in list(node.attributes.values()):
            if attribute.type == ir.AttributeType.GRAPH:
                _widen(attribute.as_graph())
            elif attribute.name in _TYPES and attribute.type == ir.AttributeType.INT and attribute.as_int() == _HALF:
                node.attributes[attribute.name] = ir.AttrInt64(attribute.name, _FLOAT.value)
            elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == _HALF:
                whole = ir.tensor(attribute.as_tensor().numpy().astype(np.float32))
                node.attributes[attribute.name] = ir.AttrTensor(attribute.name, whole)
        for output in node.outputs:
            if output.dtype == _HALF and isinstance(output.type, ir.TensorType):
                _round(graph, node, output)
            elif output.dtype == _HALF:
                output.type = _whole_type(output.type)
    first = graph[0] if len(graph) else None
    for value in graph.inputs:
        if value.dtype == _HALF and isinstance(value.type, ir.TensorType) and first is not None:
            _round_input(graph, value, first)
        elif value.dtype == _HALF:
            value.type = _whole_type(value.type)


def _whole_type(kind: object) -> ir.TypeProtocol:
    """The same type of FP32: a tensor, sequences and optionals of it."""
    if isinstance(kind, ir.SequenceType):
        return ir.SequenceType(_whole_type(kind.elem_type))
    if isinstance(kind, ir.OptionalType):
        return ir.OptionalType(_whole_type(kind.elem_type))
    return ir.TensorType(_FLOAT)


def in_fp16(model: ir.Model) -> ir.Model:
    """What an FP32 model computes on a device with FP16 only; weights beyond its largest number become that number.

    So OpenVINO stores them.
    """
    model = model.clone()
    for value in model.graph.initializers.values():
        array = queries.constant(value)
        if array is not None and array.dtype == np.float32 and np.any(np.isfinite(array) & (np.abs(array) > FP16.max)):
            stored = np.where(np.isfinite(array), np.clip(array, -FP16.max, FP16.max), array).astype(np.float32)
            value.const_value = ir.tensor(stored, name=value.name)
    return rounded(compute_fp16(model, guard=False))


def _round_input(graph: ir.Graph, value: ir.Value, first: ir.Node) -> None:
    """An FP16 input is fed in FP32 and read rounded."""
    value.type = ir.TensorType(ir.DataType.FLOAT)
    narrow, whole = _rounding(value)
    narrow.outputs[0].name, whole.outputs[0].name = f"{value.name}.narrow", f"{value.name}.rounded"
    graph.insert_before(first, [narrow, whole])


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """``value`` becomes the rounded number, under its name."""
    value.type = ir.TensorType(ir.DataType.FLOAT)
    narrow, whole = _rounding(value)
    result, name = whole.outputs[0], value.name
    value.name, narrow.outputs[0].name, result.name = f"{name}.exact", f"{name}.narrow", name
    graph.insert_after(node, [narrow, whole])
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = result


def _rounding(value: ir.Value) -> tuple[ir.Node, ir.Node]:
    """A Cast to FP16 and one back, whose result all readers of ``value`` read from now on."""
    readers = list(value.uses())
    narrow = ir.node("Cast", [value], {"to": ir.DataType.FLOAT16.value}, name=f"{value.name}.narrow")
    whole = ir.node("Cast", [narrow.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}.whole")
    for node, dtype in ((narrow, ir.DataType.FLOAT16), (whole, ir.DataType.FLOAT)):
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), value.shape
    for reader, index in readers:
        reader.replace_input_with(index, whole.outputs[0])
    return narrow, whole
