"""ONNX files → Model, brought to one shape: opset 17 or later, named nodes, weights as initializers."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.errors import ModelError
from fewbits.frontends import constants, declared, opsets, validity
from fewbits.graph.element_types import mend_types
from fewbits.graph.files import read_proto

# Opset 17 has per-channel Q/DQ, and its BatchNormalization is the one the reference evaluator computes as
# inference: that of opset 9 to 13 it mixes with batch statistics (onnx 1.23.2), which no engine does.
MINIMUM_OPSET = 17
MINIMUM_IR_VERSION = 8
_TEXT = onnx.TensorProto.STRING


def load(path: Path) -> ir.Model:
    """Read an ONNX file.

    Returns:
        The model without local functions, with every node named, constants lifted to initializers, shapes inferred.

    Raises:
        ModelError: not a valid ONNX model, or one with a node that opset 17 and later have no equivalent of.
    """
    proto = read_proto(path)
    opset = opsets.version(proto.opset_import)
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise ModelError(f"opset {opset} is newer than {newest}", where=str(path), fix="update onnx")
    validity.check(proto, path)
    texts = [v.name for v in (*proto.graph.input, *proto.graph.output) if v.type.tensor_type.elem_type == _TEXT]
    if texts:
        raise ModelError(f"{texts[0]} is text, not numbers", where=str(path), fix="export the model without it")
    try:
        constants.make_plain(proto.graph)
        declared.free_sizes(proto.graph)
        claims = declared.take_claims(proto.graph)
        if proto.functions:
            proto = opsets.inlined(proto)
        declared.say_defaults(proto)
        opsets.upgrade(proto, MINIMUM_OPSET)
        declared.say_containers(proto)
        model = ir.from_proto(proto)
    except ModelError as error:
        raise ModelError(error.what, where=str(path), fix=error.fix) from error
    except (ValueError, TypeError, KeyError, ir.serde.SerdeError) as error:
        raise ModelError(f"invalid ONNX model: {validity.first_line(error)}", where=str(path)) from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    model.meta["frontend"] = "ONNX"
    model.meta["opset"] = opset
    return normalise(model, claims)


def normalise(model: ir.Model, claims: dict[str, onnx.TypeProto] | None = None) -> ir.Model:
    """Bring a model to the one shape the rest of fewbits relies on (see ``load``); changes it in place.

    Args:
        claims: types and shapes for values that inference knows nothing about.
    """
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    for function in (
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.TopologicalSortPass(),
        common.NameFixPass(),
    ):
        function(model)
    declared.infer(model, claims or {})
    mend_types(model)
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
