"""What an ONNX file claims about its values, held against what follows from its nodes and inputs.

Shapes of inputs are the contract. All others follow: a claim that contradicts inference would have rewrites take out
operators that do something. It is kept only where inference knows nothing at all, such as behind an operator of an
engine's own.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.frontends.opsets import inferred_types
from fewbits.frontends.opsets.nodes import all_nodes, subgraphs

_CONTAINERS = frozenset(
    {
        "Optional",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
    }
)


def free_sizes(graph: onnx.GraphProto) -> None:
    """Input sizes of -1 and 0 mean any size."""
    for value in graph.input:
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and size.dim_value <= 0:
                size.ClearField("dim_value")


def take_claims(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Take the types and shapes off all values but inputs; those of this graph, to fall back on."""
    given = {value.name: value.type for value in graph.input}
    claims = {}
    for value in (*graph.value_info, *graph.output):
        if value.name not in given:
            claims[value.name] = onnx.TypeProto()
            claims[value.name].CopyFrom(value.type)
    _forget(graph)
    for value in graph.output:
        if value.name in given:  # one value, of which an output may claim another shape
            value.type.CopyFrom(given[value.name])
        else:
            value.ClearField("type")
    return claims


def _forget(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for inner in subgraphs(node):
            _forget(inner)


def say_defaults(proto: onnx.ModelProto) -> None:
    """Write down the default that inference (onnx 1.23.2) takes for its opposite: STFT gives one side."""
    for node in all_nodes(proto.graph.node):
        if node.op_type == "STFT" and all(attribute.name != "onesided" for attribute in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("onesided", 1))


def say_containers(proto: onnx.ModelProto) -> None:
    """Write down which values are sequences or optionals: the inference that follows knows tensors only."""
    given = any(value.type.WhichOneof("value") != "tensor_type" for value in proto.graph.input)
    if given or any(node.op_type in _CONTAINERS for node in all_nodes(proto.graph.node)):
        _say(proto.graph, inferred_types(proto))


def _say(graph: onnx.GraphProto, inferred: onnx.GraphProto) -> None:
    graph.value_info.extend(v for v in inferred.value_info if v.type.WhichOneof("value") != "tensor_type")
    types = {value.name: value.type for value in inferred.output}
    for value in graph.output:
        kind = types[value.name]
        if kind.WhichOneof("value") not in (None, "tensor_type"):
            value.type.CopyFrom(kind)
    for node, twin in zip(graph.node, inferred.node, strict=True):
        for one, other in zip(subgraphs(node), subgraphs(twin), strict=True):
            _say(one, other)


def infer(model: ir.Model, claims: dict[str, onnx.TypeProto]) -> None:
    """Shapes and types by inference, and by what was claimed where it knows nothing."""
    if not common.ShapeInferencePass()(model).modified:  # one node it cannot read, and it gives up
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    used = False
    for node in model.graph:
        for value in node.outputs:
            claim = claims.get(value.name or "")
            if claim is None:
                continue
            if value.type is None:
                value.type = ir.serde.deserialize_type_proto_for_type(claim)
                used = True
            if value.shape is None and value.dtype is not None and claim.HasField("tensor_type"):
                value.shape = ir.serde.deserialize_type_proto_for_shape(claim)
                used |= value.shape is not None
    if used:
        common.ShapeInferencePass()(model)
    for value in model.graph.outputs:
        _take_over_names(value, claims.get(value.name or ""))


def _take_over_names(value: ir.Value, claim: onnx.TypeProto | None) -> None:
    """Free sizes of an output that nothing else reads are called what the file calls them."""
    shape = None if claim is None else ir.serde.deserialize_type_proto_for_shape(claim)
    if value.shape is None or shape is None or len(shape) != len(value.shape) or value.uses() or not value.producer():
        return
    pairs = zip(value.shape, shape, strict=True)
    value.shape = ir.Shape(
        [size if isinstance(size, int) or isinstance(name, int) or not name.value else name for size, name in pairs]
    )
