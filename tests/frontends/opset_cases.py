"""One small model of an opset, run untouched by ONNX Runtime, and read by fewbits and run then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from fewbits import frontends
from models import Array, Arrays

BOOL, FLOAT, INT64 = onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Names parted by spaces; ``-`` stands for an input or output left out."""
    names = [[name.replace("-", "") for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, **attributes)


def build(
    nodes: onnx.NodeProto | Sequence[onnx.NodeProto],
    opset: int,
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array] | None = None,
    *,
    outputs: str = "y",
    free: bool = False,
    functions: Sequence[onnx.FunctionProto] = (),
    kinds: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model; ``free`` leaves all sizes of its inputs open."""

    def info(name: str, array: Array) -> onnx.ValueInfoProto:
        shape = [f"{name}{i}" for i in range(array.ndim)] if free else list(array.shape)
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    graph = helper.make_graph(
        [nodes] if isinstance(nodes, onnx.NodeProto) else list(nodes),
        "g",
        [info(name, array) for name, array in feeds.items()],
        [helper.make_tensor_value_info(n, (kinds or {}).get(n, FLOAT), None) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    imports = [
        helper.make_opsetid("", opset),
        *{f.domain: helper.make_opsetid(f.domain, 1) for f in functions}.values(),
    ]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def run(model: onnx.ModelProto, feeds: Arrays) -> list[Array]:
    """What ONNX Runtime makes of the model, its own rewrites switched off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def read(model: onnx.ModelProto, folder: Path) -> ir.Model:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return frontends.load(path)


def same(got: Sequence[Array], expected: Sequence[Array]) -> None:
    """Shapes and types equal, numbers up to rounding, what is not finite in the same places."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)


def agrees(model: onnx.ModelProto, feeds: Arrays, folder: Path, expected: Sequence[Array] | None = None) -> ir.Model:
    """The model as fewbits reads it, which computes what ONNX Runtime does on the untouched one, or ``expected``."""
    loaded = read(model, folder)
    proto = ir.to_proto(loaded)
    if all(value.type.tensor_type.HasField("shape") for value in proto.graph.output):
        onnx.checker.check_model(proto)
    assert not proto.functions
    same(run(proto, feeds), run(model, feeds) if expected is None else expected)
    return loaded
