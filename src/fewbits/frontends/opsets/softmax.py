"""Softmax, LogSoftmax and Hardmax before version 13 work on a matrix: all axes from ``axis`` on are one."""

from __future__ import annotations

from fewbits.frontends.opsets.scope import Node, Scope, put, take


def matrix(node: Node, scope: Scope) -> list[Node]:
    """Softmax<axis=1> of [N, C, H, W] sums over C H W: flattened before it, brought back behind it.

    Where only one axis is larger than one, or the last axis is meant, the axis alone says it.
    """
    axis = take(node, "axis", 1)
    shape = scope.shape(node.input[0])
    if shape is not None:
        rank = len(shape)
        axis = axis % rank if axis < rank else axis
        large = [i for i in range(axis, rank) if shape[i] != 1]
        if len(large) < 2 and axis < rank:
            put(node, axis=large[0] if large else axis)
            return [node]
    source, name = node.input[0], node.output[0]
    flat = scope.node("Flatten", [source], node, axis=axis)
    size = scope.node("Shape", [source], node)
    node.input[0] = flat.output[0]
    node.output[0] = scope.names.fresh(f"{name}.matrix")
    put(node, axis=1)
    back = scope.node("Reshape", [node.output[0], size.output[0]], node)
    back.output[0] = name
    return [flat, size, node, back]
