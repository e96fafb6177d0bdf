"""Types and shapes by ONNX's inference, without carrying the weights through it."""

from __future__ import annotations

import math

import onnx

# Tensors that inference and adapters read (shapes, axes, scales) are small.
_MOST_READ = 1024


def small(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is in the file and may be one that says a shape."""
    return tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= _MOST_READ


def inferred_types(proto: onnx.ModelProto) -> onnx.GraphProto:
    """The graph with the types and shapes inference finds for it; large weights stay behind, and so do claims."""
    sketch = onnx.ModelProto()
    sketch.ir_version = proto.ir_version
    sketch.opset_import.extend(proto.opset_import)
    graph = sketch.graph
    graph.name = proto.graph.name
    graph.node.extend(proto.graph.node)
    graph.input.extend(proto.graph.input)
    graph.output.extend(proto.graph.output)
    known = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if small(tensor):
            graph.initializer.append(tensor)
        elif tensor.name not in known:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        return onnx.shape_inference.infer_shapes(sketch, data_prop=True).graph
    except onnx.shape_inference.InferenceError:  # sizes that contradict each other
        return proto.graph
