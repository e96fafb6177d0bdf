"""An If whose condition is known becomes the branch it takes."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import stand_in


def inline_constant_ifs(model: ir.Model) -> None:
    """Move the nodes of every branch that is always taken to where the If stands, innermost last."""
    waiting = list(model.graph)
    while waiting:
        node = waiting.pop(0)
        condition = queries.constant(node.inputs[0]) if node.op_type == "If" and node.domain == "" else None
        if condition is None or condition.size != 1 or node.graph is None:
            continue
        waiting += _inline(node, taken=bool(condition.reshape(-1)[0]))


def _inline(node: ir.Node, *, taken: bool) -> list[ir.Node]:
    outer = node.graph
    branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
    assert isinstance(outer, ir.Graph)
    results = list(branch.outputs)
    branch.outputs.clear()
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        while value.name in outer.initializers:
            value.name = f"{value.name}.inlined"
        outer.register_initializer(value)
    inner = list(branch)
    branch.remove(inner)
    outer.insert_before(node, inner)
    for output, result in zip(node.outputs, results, strict=True):
        output.shape, output.type = result.shape or output.shape, result.type or output.type
        if not stand_in(output, result):
            same = ir.node("Identity", [result], name=f"{output.name}.same")
            outer.insert_before(node, same)
            known = output.name
            same.outputs[0].shape, same.outputs[0].type = output.shape, output.type
            ir.convenience.replace_all_uses_with(output, same.outputs[0], replace_graph_outputs=True)
            output.name, same.outputs[0].name = f"{known}.before", known
    outer.remove(node, safe=True)
    return inner
