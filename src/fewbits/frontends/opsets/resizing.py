"""Upsample and Resize of the versions before 11: positions are divided by the scale, without a half."""

from __future__ import annotations

import numpy as np

from fewbits.frontends.opsets.scope import Node, Scope, drop, get, put, set_inputs, take

_PLAIN = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def both_scales(node: Node, _scope: Scope) -> list[Node]:
    """Upsample of version 1 scales the last two axes of four."""
    height, width = take(node, "height_scale"), take(node, "width_scale")
    put(node, scales=[1.0, 1.0, height, width])
    if get(node, "mode") == "bilinear":
        put(node, mode="linear")
    return [node]


def scales_input(node: Node, scope: Scope) -> list[Node]:
    """Upsample from version 9 on reads its scales."""
    made = scope.const(np.array(take(node, "scales"), np.float32), node)
    set_inputs(node, node.input[0], made.output[0])
    return [made, node]


def upsample(node: Node, _scope: Scope) -> list[Node]:
    """Upsample is Resize from version 10 on."""
    node.op_type = "Resize"
    return [node]


def resize(node: Node, scope: Scope) -> list[Node]:
    """Resize of version 10 → 11, [X, scales] → [X, roi, scales].

    The nearest number lies at or before the position where an axis grows, at or behind it where it shrinks. One later
    Resize rounds in one direction only, so axes that grow and axes that shrink may need one each.
    """
    source, scales = node.input
    name, known = node.output[0], scope.constant(scales)
    linear = get(node, "mode", "nearest") != "nearest"
    put(node, **_PLAIN)
    if linear or (known is not None and bool((known >= 1).all())):
        set_inputs(node, source, "", scales)
        return [node]
    if known is not None and bool((known <= 1).all()):
        set_inputs(node, source, "", scales)
        put(node, nearest_mode="ceil")
        return [node]
    one = scope.const(np.ones(1, np.float32), node)
    grown = scope.node("Max", [scales, one.output[0]], node)
    shrunk = scope.node("Min", [scales, one.output[0]], node)
    first = scope.node("Resize", [source, "", grown.output[0]], node, mode="nearest", **_PLAIN)
    set_inputs(node, first.output[0], "", shrunk.output[0])
    put(node, nearest_mode="ceil")
    node.output[0] = name
    return [one, grown, shrunk, first, node]


def roi_align(node: Node, _scope: Scope) -> list[Node]:
    """RoiAlign before version 16 does not move positions by half a pixel."""
    drop(node, "coordinate_transformation_mode")
    put(node, coordinate_transformation_mode="output_half_pixel")
    return [node]
