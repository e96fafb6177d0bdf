"""An FP16 graph as FP32 operators that round every result to FP16: FP16 arithmetic where the host has none.

Engines without FP16 arithmetic run an FP16 graph in FP32 and leave out the casts between operators, so nothing
overflows there that would on a device. Casts to FP16 and back that stand in an FP32 graph are carried out by ONNX
Runtime (OpenVINO drops them). Inside an operator sums are in FP32, as most devices with FP16 accumulate.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.numerics import FP16
from fewbits.passes.to_half import compute_fp16


def rounded(half: ir.Model) -> ir.Model:
    """A copy of what ``compute_fp16`` made, all in FP32, with each FP16 result rounded; names of values stay."""
    model = half.clone()
    for value in list(model.graph.initializers.values()):
        array = queries.constant(value)
        if array is None or value.dtype != ir.DataType.FLOAT16:
            continue
        name = value.name or ""
        whole = add_initializer(model, f"{name}.rounded", array.astype(np.float32))
        value.replace_all_uses_with(whole)
        del model.graph.initializers[name]
    for node in list(model.graph):
        target = node.attributes.get("to") if node.op_type == "Cast" else None
        if target is not None and target.as_int() == ir.DataType.FLOAT16.value:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT.value)
        for output in node.outputs:
            if output.dtype == ir.DataType.FLOAT16:
                _round(model, node, output)
    first = model.graph[0] if len(model.graph) else None
    for value in model.graph.inputs:
        if value.dtype == ir.DataType.FLOAT16 and first is not None:
            _round_input(model, value, first)
    return model


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


def _round_input(model: ir.Model, value: ir.Value, first: ir.Node) -> None:
    """An FP16 input is fed in FP32 and read rounded."""
    value.type = ir.TensorType(ir.DataType.FLOAT)
    narrow, whole = _rounding(value)
    narrow.outputs[0].name, whole.outputs[0].name = f"{value.name}.narrow", f"{value.name}.rounded"
    model.graph.insert_before(first, [narrow, whole])


def _round(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """``value`` becomes the rounded number, under its name."""
    value.type = ir.TensorType(ir.DataType.FLOAT)
    narrow, whole = _rounding(value)
    result, name = whole.outputs[0], value.name
    value.name, narrow.outputs[0].name, result.name = f"{name}.exact", f"{name}.narrow", name
    model.graph.insert_after(node, [narrow, whole])
    for index, output in enumerate(model.graph.outputs):
        if output is value:
            model.graph.outputs[index] = result


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
