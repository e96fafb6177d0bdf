"""Local functions become the nodes they stand for, each still of the operator set its function was written in.

An attribute of a function may be the attribute of an operator within it. Only where the function is called is it known,
so functions go before anything is rewritten. Each node then says its version where it is not the graph's.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.errors import ModelError
from fewbits.frontends.opsets.nodes import DEFAULT_DOMAIN, all_nodes, version

_VERSION = "fewbits.opset"


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions.

    Raises:
        ModelError: a function calls itself, takes a graph, or is of other operators than the model.
    """
    own = version(proto.opset_import)
    for function in proto.functions:
        theirs = version(function.opset_import)
        if theirs is None:
            continue
        if own is None:
            own = theirs
            proto.opset_import.append(onnx.helper.make_opsetid("", own))
        if theirs != own:
            _mark(function, theirs, own)
    model = ir.from_proto(proto)
    try:
        common.InlinePass()(model)
    except (ValueError, RuntimeError, AssertionError, KeyError, ir.passes.PassError) as error:
        cause = error.__cause__ or error
        raise ModelError(f"local functions cannot be resolved: {cause}", fix="export it without functions") from error
    model.functions.clear()
    common.NameFixPass()(model)
    return ir.to_proto(model)


def written_in(node: onnx.NodeProto, graph: int) -> int:
    """The version of the operator set a node is written in, where the graph's is ``graph``."""
    return next((int(entry.value) for entry in node.metadata_props if entry.key == _VERSION), graph)


def forget_versions(nodes: Iterable[onnx.NodeProto]) -> None:
    """Take the marks off."""
    for node in all_nodes(nodes):
        kept = [entry for entry in node.metadata_props if entry.key != _VERSION]
        if len(kept) < len(node.metadata_props):
            del node.metadata_props[:]
            node.metadata_props.extend(kept)


def _mark(function: onnx.FunctionProto, theirs: int, own: int) -> None:
    for node in all_nodes(function.node):
        node.metadata_props.add(key=_VERSION, value=str(theirs))
    for entry in function.opset_import:
        if entry.domain in DEFAULT_DOMAIN:
            entry.version = own
