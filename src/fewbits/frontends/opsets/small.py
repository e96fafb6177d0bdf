"""Adapters of one or two lines: names, defaults, attributes that mean nothing any more."""

from __future__ import annotations

from onnx import TensorProto

from fewbits.frontends.opsets.scope import Adapter, Node, Scope, drop, get, put, refuse, take


def without(*names: str) -> Adapter:
    """Attributes that say nothing about the result."""

    def adapt(node: Node, _scope: Scope) -> list[Node]:
        drop(node, *names)
        return [node]

    return adapt


def renamed(old: str, new: str) -> Adapter:
    """An attribute under another name."""

    def adapt(node: Node, _scope: Scope) -> list[Node]:
        put(node, **{new: take(node, old)})
        return [node]

    return adapt


def with_default(name: str, value: object) -> Adapter:
    """An attribute whose default is gone."""

    def adapt(node: Node, _scope: Scope) -> list[Node]:
        put(node, **{name: get(node, name, value)})
        return [node]

    return adapt


def cast_to(node: Node, _scope: Scope) -> list[Node]:
    """Cast named its type before version 6."""
    name = str(take(node, "to")).upper()
    if name not in TensorProto.DataType.keys():  # noqa: SIM118  (no mapping)
        raise refuse(node, f"casts to '{name}', which is no type")
    put(node, to=TensorProto.DataType.Value(name))
    return [node]


def norm_order(node: Node, _scope: Scope) -> list[Node]:
    """LpPool and GlobalLpPool: p is a whole number from version 2 on."""
    p = take(node, "p", 2.0)
    if p != int(p):
        raise refuse(node, f"has p = {p:g}; only whole numbers are left")
    if node.op_type == "LpPool" and get(node, "kernel_shape") is None:
        raise refuse(node, "names no kernel_shape")
    put(node, p=int(p))
    return [node]


def scatter(node: Node, _scope: Scope) -> list[Node]:
    """Scatter is ScatterElements from version 11 on."""
    node.op_type = "ScatterElements"
    return [node]


def direction(node: Node, _scope: Scope) -> list[Node]:
    """GRU of version 1 spells its default direction wrong."""
    if get(node, "direction") == "foward":
        put(node, direction="forward")
    return [node]
