"""Broadcasting as it was before version 7: the second operand is laid against the first from ``axis`` on."""

from __future__ import annotations

from fewbits.frontends.opsets.scope import Node, Scope, refuse, take


def aligned(node: Node, scope: Scope) -> list[Node]:
    """Add, Sub, Mul, Div, Pow, And, Or, Xor, Equal, Greater, Less: B [C] at axis 1 of A [N, C, H, W] → [C, 1, 1]."""
    broadcast, axis = take(node, "broadcast", 0), take(node, "axis")
    if not broadcast or axis is None:
        return [node]  # equal shapes, or the last axes of A
    return _unsqueezed(node, scope, axis)


def slope(node: Node, scope: Scope) -> list[Node]:
    """PRelu's slopes [C] belong to axis 1: [C, 1, 1] where X has four axes; one slope serves all."""
    shape = scope.shape(node.input[1])
    if shape is not None and (len(shape) != 1 or shape[0] == 1):
        return [node]
    return _unsqueezed(node, scope, 1)


def repeats(node: Node, scope: Scope) -> list[Node]:
    """Tile with ``tiles`` along one ``axis`` → a number of repeats for every axis."""
    tiles, axis, rank = scope.constant(node.input[1]), scope.constant(node.input[2]), scope.rank(node.input[0])
    if tiles is None or axis is None or rank is None:
        raise refuse(node, "repeats along an axis, or as often as, only known when the model runs")
    counts = [1] * rank
    counts[int(axis.reshape(-1)[0])] = int(tiles.reshape(-1)[0])
    made = scope.const(counts, node)
    node.input[1] = made.output[0]
    node.input.pop()
    return [made, node]


def _unsqueezed(node: Node, scope: Scope, axis: int) -> list[Node]:
    first, second = (scope.rank(name) for name in node.input)
    if first is None or second is None:
        raise refuse(node, "broadcasts along an axis of a value whose number of axes is not known")
    behind = first - axis % first - second
    if behind <= 0:
        return [node]
    made = scope.node("Unsqueeze", [node.input[1]], node, axes=list(range(second, second + behind)))
    node.input[1] = made.output[0]
    return [made, node]
