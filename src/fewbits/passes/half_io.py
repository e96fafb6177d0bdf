"""FP16 inputs and outputs for a graph that computes in FP16 (see ``to_half.compute_fp16``).

A cast at the border goes where FP16 is all that is read or written there. An input that some operator reads in FP32 is
cast once; an output that no operator gives in FP16 stays FP32, and so do sequences.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from fewbits.passes.half_types import is_whole

_HALF = ir.DataType.FLOAT16


def half_io(model: ir.Model) -> ir.Model:
    """Take FP16 at the inputs and give FP16 at the outputs; changes the model in place and returns it."""
    graph = model.graph
    for value in graph.inputs:
        if is_whole(value) and value.const_value is None:
            _take_half(graph, value)
    for index in range(len(graph.outputs)):
        _give_half(graph, index)
    NameFixPass()(model)
    return model


def _take_half(graph: ir.Graph, value: ir.Value) -> None:
    readers = [(use.node, use.idx) for use in value.uses()]
    casts = [node for node, _ in readers if _casts(node, _HALF) and node.graph is graph]
    value.type = ir.TensorType(_HALF)
    whole = [(node, place) for node, place in readers if node not in casts]
    if whole:
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}.to_fp32")
        cast.outputs[0].name, cast.outputs[0].shape = f"{value.name}.fp32", value.shape
        cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graph.insert_before(graph[0], cast)
        for node, place in whole:
            node.replace_input_with(place, cast.outputs[0])
    for cast in casts:
        if not cast.outputs[0].is_graph_output():
            cast.outputs[0].replace_all_uses_with(value)
            graph.remove(cast, safe=True)


def _give_half(graph: ir.Graph, index: int) -> None:
    output = graph.outputs[index]
    cast_back = output.producer()
    source = None if cast_back is None else cast_back.inputs[0]
    if cast_back is None or source is None or not _casts(cast_back, ir.DataType.FLOAT):
        return
    if source.dtype != _HALF or source.producer() is None or source.is_graph_output():
        return
    name = output.name
    graph.outputs[index] = source
    if output.uses() or output.is_graph_output():
        output.name = f"{name}.fp32"
    else:
        graph.remove(cast_back, safe=True)
    source.name = name


def _casts(node: ir.Node, to: ir.DataType) -> bool:
    return node.op_type == "Cast" and node.attributes["to"].as_int() == to.value
