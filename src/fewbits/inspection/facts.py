"""Counting: operators, parameters, bytes, multiply-accumulates."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.ops import Role, role
from fewbits.inspection.records import Facts


def facts(model: ir.Model) -> Facts:
    """What the model consists of."""
    graph = model.graph
    tensors = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    operators = Counter(node.op_type for node in graph)
    work = [node for node in graph if role(node.op_type) is Role.COMPUTE]
    return Facts(
        queries.specs(graph.inputs),
        queries.specs(graph.outputs),
        dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        len(graph),
        sum(tensor.size for tensor in tensors),
        queries.weight_bytes(model),
        sum(map(queries.macs, work)),
        sum(not _sized(node) for node in work),
    )


def _sized(node: ir.Node) -> bool:
    values = [v for v in (*node.inputs[:2], *node.outputs) if v is not None]
    shapes = [queries.dims(value) for value in values]
    return all(shape is not None and None not in shape[1:] for shape in shapes)
