"""Whether a file is a valid ONNX model, as engines take it: a type or shape of an output may be left to inference."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx

from fewbits.errors import ModelError
from fewbits.frontends.opsets.nodes import DEFAULT_DOMAIN, all_nodes

# The checker refuses these as deprecated in the very versions that define them (onnx 1.20).
_VALID: Final = ("GroupNormalization",)


def check(proto: onnx.ModelProto, path: Path) -> None:
    """Hold the file against ONNX's own checker.

    Raises:
        ModelError: it is not valid.
    """
    whole = bool(proto.graph.name) and all(_complete(value) for value in proto.graph.output)
    whole = whole and not any(_wronged(node) for node in all_nodes(proto.graph.node))
    try:
        onnx.checker.check_model(str(path) if whole else _completed(proto))
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"invalid ONNX model: {first_line(error)}", where=str(path), fix="export it again") from error


def first_line(error: Exception) -> str:
    """What an error of a library says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _wronged(node: onnx.NodeProto) -> bool:
    return node.op_type in _VALID and node.domain in DEFAULT_DOMAIN


def _complete(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.HasField("shape"))


def _completed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy as the checker takes it.

    Its outputs say something; weights beside the file, which it would look for, are inputs; what it wrongs is of a
    domain that it knows nothing about.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.name = proto.graph.name or "graph"
    for value in copy.graph.output:
        if value.type.WhichOneof("value") is None:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if not _complete(value):
            value.type.tensor_type.shape.SetInParent()
    for node in all_nodes(copy.graph.node):
        if _wronged(node):
            node.domain = "unchecked"
    copy.opset_import.append(onnx.helper.make_opsetid("unchecked", 1))
    known = {value.name for value in copy.graph.input}
    for tensor in list(copy.graph.initializer):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            copy.graph.initializer.remove(tensor)
            if tensor.name not in known:
                copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return copy
