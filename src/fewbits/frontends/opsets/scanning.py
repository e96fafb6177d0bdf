"""Scan of version 8 runs over each sample of a batch; from version 9 on it runs over one sequence."""

from __future__ import annotations

from onnx import helper

from fewbits.frontends.opsets.scope import Node, Scope, get, put, refuse, set_inputs, take


def batched(node: Node, scope: Scope) -> list[Node]:
    """A Scan over the batch, whose body is the Scan over the sequence.

    Initial states [B, ...] and sequences [B, T, ...] are the outer Scan's sequences, final states and results are what
    it stacks.
    """
    if node.input[0]:
        raise refuse(node, "has sequences of different lengths (sequence_lens)")
    fed, given = list(node.input[1:]), list(node.output)
    inside = [scope.names.fresh(f"{name}.sample") for name in fed]
    results = [scope.names.fresh(f"{name or node.op_type}.sample") for name in given]
    inner = Node()
    inner.CopyFrom(node)
    directions = take(inner, "directions")
    if directions:
        put(inner, scan_input_directions=list(directions))
    set_inputs(inner, *inside)
    del inner.output[:]
    inner.output.extend(results)
    body = helper.make_graph(
        [inner],
        scope.names.fresh(f"{get(node, 'body').name}.batch"),
        [helper.make_empty_tensor_value_info(name) for name in inside],
        [helper.make_empty_tensor_value_info(name) for name in results],
    )
    return [helper.make_node("Scan", fed, given, name=node.name, body=body, num_scan_inputs=len(fed))]
