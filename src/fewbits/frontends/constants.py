"""Sparse and textual constants as plain tensors: engines and rewrites know no others."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from fewbits.frontends.opsets.nodes import all_graphs


def make_plain(graph: onnx.GraphProto) -> None:
    """Sparse initializers, and sparse values and texts of Constant nodes, become tensors, in all graphs inside too."""
    for one in all_graphs(graph):
        one.initializer.extend(_dense(tensor) for tensor in one.sparse_initializer)
        del one.sparse_initializer[:]
        for node in one.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                tensor = _tensor(attribute)
                if tensor is not None:
                    attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _tensor(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    match attribute.name:
        case "sparse_value":
            return _dense(attribute.sparse_tensor)
        case "value_string":
            return onnx.TensorProto(data_type=onnx.TensorProto.STRING, string_data=[attribute.s])
        case "value_strings":
            texts = attribute.strings
            return onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[len(texts)], string_data=texts)
    return None


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Indices are places in the flat tensor, or one row of coordinates for each number."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    full = np.zeros(tuple(sparse.dims), values.dtype)
    places = np.ravel_multi_index(tuple(indices.T), full.shape) if indices.ndim == 2 else indices
    full.reshape(-1)[places] = values
    return numpy_helper.from_array(full, sparse.values.name)
