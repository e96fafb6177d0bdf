"""One step of a graph, run alone by ONNX Runtime without its optimizations: how shapes and truth are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

Array = NDArray[Any]
ort.set_default_logger_severity(4)
DOMAINS = {"": None, "com.microsoft": 1}


def session(model: onnx.ModelProto | bytes, *, optimized: bool = False) -> Any:
    """ONNX Runtime on one thread of the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def opset_imports(opset: int, nodes: Sequence[onnx.NodeProto]) -> list[onnx.OperatorSetIdProto]:
    """The default domain and every other one that the nodes and their bodies use."""
    others = {node.domain for node in all_nodes(nodes) if node.domain}
    return [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in sorted(others))]


def all_nodes(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes and those of their bodies."""
    found = []
    for node in nodes:
        found.append(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += all_nodes(attribute.g.node)
    return found


def read_from_outside(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Names these nodes, or bodies in them, read and do not define, in order."""
    defined: set[str] = set()
    read: list[str] = []
    for node in nodes:
        names = list(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                body = attribute.g
                own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
                produced = {name for inner in body.node for name in inner.output}
                outputs = [value.name for value in body.output if value.name not in produced]
                names += [name for name in (*read_from_outside(body.node), *outputs) if name not in own]
        read += [name for name in names if name and name not in defined]
        defined |= set(node.output)
    return list(dict.fromkeys(read))


class Step:
    """Nodes that run together because what passes between them is no tensor (a sequence) or is nobody else's matter."""

    def __init__(
        self, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], functions: Sequence[onnx.FunctionProto] = ()
    ) -> None:
        self.nodes = list(nodes)
        self.outputs = list(outputs)
        self.functions = list(functions)
        self.inputs = read_from_outside(self.nodes)
        self._session: Any = None

    def run(self, opset: int, values: Mapping[str, Array]) -> list[Array]:
        """The outputs for these values.

        Raises:
            Exception: of several kinds, where ONNX Runtime does not run it.
        """
        if self._session is None:
            self._session = session(self._model(opset, values))
        found = self._session.run(self.outputs, {name: values[name] for name in self.inputs})
        for array in found:
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{type(array).__name__} is no tensor")
        return list(found)

    def _model(self, opset: int, values: Mapping[str, Array]) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(values[name].dtype), [None] * values[name].ndim
            )
            for name in self.inputs
        ]
        outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "step", inputs, outputs)
        imports = opset_imports(opset, [*self.nodes, *(node for f in self.functions for node in f.node)])
        return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=self.functions)


def as_element_type(array: Array) -> int:
    """ONNX's number of the array's type."""
    return int(helper.np_dtype_to_tensor_dtype(array.dtype)) or TensorProto.FLOAT
