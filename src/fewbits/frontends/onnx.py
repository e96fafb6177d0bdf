"""ONNX files → Model, brought to one shape: opset 17 or later, named nodes, weights as initializers."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.errors import ModelError
from fewbits.graph.files import read_proto

# Opset 17 has per-channel Q/DQ, and its BatchNormalization is the one the reference evaluator computes as
# inference: that of opset 9 to 13 it mixes with batch statistics (onnx 1.23.2), which no engine does.
MINIMUM_OPSET = 17
MINIMUM_IR_VERSION = 8
_MOST_READ = 1024


def load(path: Path) -> ir.Model:
    """Read an ONNX file.

    Returns:
        The model with every node named, constants lifted to initializers, and shapes inferred.

    Raises:
        ModelError: not a valid ONNX model, or of an operator set that cannot be brought to opset 17.
    """
    proto = read_proto(path)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"invalid ONNX model: {_first_line(error)}", where=str(path), fix="export it again") from error
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise ModelError(f"opset {opset} is newer than {newest}", where=str(path), fix="update onnx")
    try:
        if opset is not None and opset < MINIMUM_OPSET:
            model = ir.from_proto(_modernise(proto, path, opset))
            ir.external_data.set_base_dir(model.graph, path.parent)
        else:
            model = ir.load(path)
    except (ValueError, TypeError, KeyError, ir.serde.SerdeError) as error:
        raise ModelError(f"invalid ONNX model: {error}", where=str(path)) from error
    model.meta["frontend"] = "ONNX"
    model.meta["opset"] = opset
    return normalise(model)


def _modernise(proto: onnx.ModelProto, path: Path, opset: int) -> onnx.ModelProto:
    large = _take_out_large(proto)
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
        converted = onnx.version_converter.convert_version(proto, MINIMUM_OPSET)
    except Exception as error:  # the converter raises whatever its C++ side throws
        raise ModelError(
            f"opset {opset} cannot be converted to {MINIMUM_OPSET}: {_first_line(error)}",
            where=str(path),
            fix=f"export it with opset {MINIMUM_OPSET} or later",
        ) from error
    for value in [value for value in converted.graph.input if value.name in large]:
        converted.graph.input.remove(value)
    converted.graph.initializer.extend(large.values())
    return converted


def _take_out_large(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Weights beside the file that the converter must not carry: they become inputs until it is done.

    What it has to read (shapes, axes, scales) is small.
    """
    large = {
        tensor.name: tensor
        for tensor in proto.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) > _MOST_READ
    }
    inputs = {value.name for value in proto.graph.input}
    for tensor in large.values():
        proto.graph.initializer.remove(tensor)
        if tensor.name not in inputs:
            made = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            proto.graph.input.append(made)
    return large


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _free_negative_sizes(model: ir.Model) -> None:
    """Some exporters write a free size as -1; it becomes what ONNX has for it."""
    values = (*model.graph.inputs, *model.graph.outputs, *(v for node in model.graph for v in node.outputs))
    for value in values:
        sizes = value.shape
        if sizes is not None and any(isinstance(size, int) and size < 0 for size in sizes):
            value.shape = ir.Shape([None if isinstance(size, int) and size < 0 else size for size in sizes])


def normalise(model: ir.Model) -> ir.Model:
    """Bring a model to the one shape the rest of fewbits relies on (see ``load``); changes it in place."""
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    _free_negative_sizes(model)
    for function in (
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.TopologicalSortPass(),
        common.NameFixPass(),
        common.ShapeInferencePass(),
    ):
        function(model)
    model.ir_version = max(model.ir_version, MINIMUM_IR_VERSION)
    taken = {node.name for node in model.graph if node.name}
    for index, node in enumerate(model.graph):
        if not node.name:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            taken.add(name)
            node.name = name
    return model
