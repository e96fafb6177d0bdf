"""A graph before and after simplification, run by ONNX Runtime with its own rewrites switched off: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper

from fewbits.frontends.onnx import normalise
from fewbits.passes import simplify
from models import Array, f32

EDGES = f32(
    0, -0.0, 1, -1, 1e-12, -3e-8, 1.5, 6, 7, -6.5, 1e30, -3e38, np.inf, -np.inf, np.nan, 65519, 2049.3, 0.1, 3, -2
)
F32 = EDGES.reshape(4, 5)


def run(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def exact(text: str, feeds: dict[str, Array], opset: int = 17, **constants: Array) -> list[str]:
    """The operators left of a graph that gives the same bits before and after."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    expected = run(proto, feeds)
    simple = simplify(normalise(ir.from_proto(proto)))
    got = run(ir.to_proto(simple), feeds)
    assert [v.name for v in simple.graph.inputs] == [v.name for v in proto.graph.input]
    assert [v.name for v in simple.graph.outputs] == [v.name for v in proto.graph.output]
    for one, other in zip(got, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        if one.dtype.kind == "f":
            held = ~np.isnan(one)
            assert np.array_equal(np.signbit(one[held]), np.signbit(other[held]))
    return [node.op_type for node in simple.graph]


def graph(text: str, **constants: Any) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    return normalise(ir.from_proto(proto))
