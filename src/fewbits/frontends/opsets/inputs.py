"""Attributes that became inputs, and inputs that became attributes."""

from __future__ import annotations

from fewbits.frontends.opsets.scope import Adapter, Node, Scope, drop, get, put, refuse, set_inputs, take


def as_input(attribute: str, index: int = 1) -> Adapter:
    """Whole numbers of an attribute become input ``index``; where there are none, nothing is fed."""

    def adapt(node: Node, scope: Scope) -> list[Node]:
        numbers = take(node, attribute)
        if numbers is None or (isinstance(numbers, list) and not numbers and attribute == "axes"):
            return [node]  # no axes: all of them, or all of size one, before and after
        made = scope.const([numbers] if isinstance(numbers, int) else list(numbers), node)
        set_inputs(node, *node.input[:index], made.output[0])
        return [made, node]

    return adapt


def reshape_input(node: Node, scope: Scope) -> list[Node]:
    """Reshape of version 1 holds its shape."""
    drop(node, "consumed_inputs")
    return as_input("shape")(node, scope)


def slice_inputs(node: Node, scope: Scope) -> list[Node]:
    """Slice: starts, ends and, where given, axes."""
    given = [take(node, name) for name in ("starts", "ends", "axes")]
    made = [scope.const(list(numbers), node) for numbers in given if numbers]
    set_inputs(node, node.input[0], *(constant.output[0] for constant in made))
    return [*made, node]


def bounds(node: Node, scope: Scope) -> list[Node]:
    """Clip: min and max, of the type of the data."""
    made: list[Node] = []
    fed = [node.input[0]]
    for name in ("min", "max"):
        bound = take(node, name)
        if bound is None:
            fed.append("")
            continue
        made += scope.const_like(bound, node.input[0], node)
        fed.append(made[-1].output[0])
    set_inputs(node, *fed)
    return [*made, node]


def padding(node: Node, scope: Scope) -> list[Node]:
    """Pad: pads and, where not 0, the value they are filled with."""
    pads, value = scope.const(list(take(node, "pads")), node), take(node, "value", 0.0)
    fill = scope.const_like(value, node.input[0], node) if value else []
    set_inputs(node, node.input[0], pads.output[0], *(n.output[0] for n in fill[-1:]))
    return [pads, *fill, node]


def split_attribute(node: Node, scope: Scope) -> list[Node]:
    """Split of version 1: sizes may come as an input, and no axis is assumed."""
    if get(node, "axis") is None:
        raise refuse(node, "names no axis")
    if len(node.input) > 1:
        sizes = scope.constant(node.input[1])
        if sizes is None:
            raise refuse(node, "splits into sizes only known when the model runs")
        set_inputs(node, node.input[0])
        put(node, split=[int(size) for size in sizes.reshape(-1)])
    return [node]
