"""What a model computes on a device that has FP16 only, in a graph that any engine runs.

Every weight, input and result of an operator is rounded to FP16 by a pair of Casts: ``y = FP32(FP16(f(x)))``. A graph
whose operators are FP16 themselves would not do on engines without FP16 arithmetic: they run it in FP32 and drop the
casts between operators, so that nothing is rounded and nothing overflows. A pair of Casts in an FP32 graph is kept.

Sums inside one operator are taken in FP32; a device that adds them up in FP16 loses more than is seen here.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.graph.ops import Role, role
from fewbits.numerics import FP16

# Their results are numbers that went in, which FP16 holds already.
_SELECT = frozenset({"Relu", "Clip", "Max", "Min", "Where", "Concat", "Abs", "Neg", "Expand", "Tile", "Pad", "Dropout"})


def round_fp16(model: ir.Model) -> ir.Model:
    """A copy that rounds to FP16 after every operator; the input model stays as it is.

    Weights beyond FP16's largest number become that number, as OpenVINO stores them.

    Raises:
        ModelError: the type of a value is unknown, so that it cannot be told whether to round it.
    """
    model = model.clone()
    for value in list(model.graph.initializers.values()):
        _round_weights(model, value)
    first = model.graph[0] if len(model.graph) else None
    for value in model.graph.inputs:
        if value.dtype == ir.DataType.FLOAT and first is not None:
            _round(model, value, before=first)
    for node in list(model.graph):
        if role(node.op_type) is Role.CARRY or node.op_type in _SELECT:
            continue
        for value in node.outputs:
            if value.dtype is None and value.uses():
                raise ModelError(f"the type of value '{value.name}' is unknown, so it cannot be rounded to FP16")
            if value.dtype == ir.DataType.FLOAT and (value.uses() or value.is_graph_output()):
                _round(model, value)
    return model


def _round_weights(model: ir.Model, value: ir.Value) -> None:
    array = queries.constant(value)
    if array is None or value.dtype != ir.DataType.FLOAT or not value.uses():
        return
    if all(node.op_type == "Resize" and index > 0 for node, index in value.uses()):
        return  # scale factors are parameters, not numbers that are computed with
    finite = np.where(np.isfinite(array), np.clip(array, -FP16.max, FP16.max), array)
    rounded = add_initializer(model, f"{value.name}.rounded", finite.astype(np.float16).astype(np.float32))
    for node, index in list(value.uses()):
        node.replace_input_with(index, rounded)
    if not value.is_graph_output():
        del model.graph.initializers[value.name or ""]


def _round(model: ir.Model, value: ir.Value, before: ir.Node | None = None) -> None:
    """Let every reader of the value read it rounded; a model output keeps its name."""
    readers = list(value.uses())
    half = ir.node("Cast", [value], {"to": ir.DataType.FLOAT16.value}, name=f"{value.name}.to_fp16")
    whole = ir.node("Cast", [half.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}.to_fp32")
    narrow, wide = half.outputs[0], whole.outputs[0]
    narrow.name, narrow.shape, narrow.type = f"{value.name}.fp16", value.shape, ir.TensorType(ir.DataType.FLOAT16)
    wide.name, wide.shape, wide.type = f"{value.name}.rounded", value.shape, ir.TensorType(ir.DataType.FLOAT)
    if before is not None:
        model.graph.insert_before(before, [half, whole])
    else:
        producer = value.producer()
        assert producer is not None  # only inputs have none, and they come with a place
        model.graph.insert_after(producer, [half, whole])
    for node, index in readers:
        node.replace_input_with(index, wide)
    for index, output in enumerate(model.graph.outputs):
        if output is value and before is None:
            value.name, wide.name = f"{value.name}.raw", value.name
            model.graph.outputs[index] = wide
