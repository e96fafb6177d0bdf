"""Local functions become the nodes they stand for.

An attribute of a function may be the attribute of an operator within it. Only where the function is called is it known,
so functions go before anything is rewritten. One may import another version of the operator set than the model; a
valid file has only operators in it that mean the same in both, which ONNX's checker has seen to.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.errors import ModelError
from fewbits.frontends.opsets.nodes import DEFAULT_DOMAIN, version


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions.

    Raises:
        ModelError: a function calls itself or takes a graph.
    """
    own = version(proto.opset_import)
    for function in proto.functions:
        for entry in function.opset_import:
            if entry.domain not in DEFAULT_DOMAIN:
                continue
            if own is None:
                own = entry.version
                proto.opset_import.append(onnx.helper.make_opsetid("", own))
            entry.version = own
    model = ir.from_proto(proto)
    try:
        common.InlinePass()(model)
    except (ValueError, RuntimeError, AssertionError, KeyError, ir.passes.PassError) as error:
        cause = error.__cause__ or error
        raise ModelError(f"local functions cannot be resolved: {cause}", fix="export it without functions") from error
    model.functions.clear()
    common.NameFixPass()(model)
    return ir.to_proto(model)
