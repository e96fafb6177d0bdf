"""Sequences and optionals: the types that shape inference of onnx_ir takes for those of tensors."""

from __future__ import annotations

import onnx_ir as ir

_SEQUENCES = frozenset({"SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence"})


def mend_types(model: ir.Model) -> None:
    """Give the outputs of operators that make sequences and optionals their types; changes the model in place.

    onnx_ir merges inferred types by their element alone: a value without a type becomes a tensor of it. So typed, it
    is written into the file, which engines then refuse.
    """
    for graph in (*model.graph.subgraphs(), model.graph):
        for node in graph:
            for output, kind in zip(node.outputs, _kinds(node), strict=False):
                if isinstance(kind, (ir.SequenceType, ir.OptionalType)) and output.type != kind:
                    output.type = kind


def _kinds(node: ir.Node) -> list[ir.TypeProtocol | None]:
    """The types of the node's outputs, as far as they follow from its inputs or its body."""
    first, output = node.inputs[0] if node.inputs else None, node.outputs[0]
    kind = None if first is None else first.type
    element = output.dtype
    if node.op_type in _SEQUENCES and element is not None:
        return [ir.SequenceType(ir.TensorType(element))]
    if node.op_type == "Optional" and (kind is not None or element is not None):
        return [ir.OptionalType(kind or ir.TensorType(element or ir.DataType.FLOAT))]
    if node.op_type == "OptionalGetElement":
        return [kind.elem_type if isinstance(kind, ir.OptionalType) else kind]
    if node.op_type == "Identity":
        return [kind]
    bodies = [node.attributes[key].as_graph() for key in ("then_branch", "body") if key in node.attributes]
    skipped = 1 if node.op_type == "Loop" else 0  # its body says first whether to go on
    return [value.type for body in bodies for value in body.outputs[skipped:]]
