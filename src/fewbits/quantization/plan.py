"""What a recipe means for one model on one engine: scales for values and weights, a reason for each float node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.engines.capability import Capability
from fewbits.errors import ModelError
from fewbits.graph import qdq, queries
from fewbits.graph.ops import WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.numerics import INT7, INT8, INT8_NARROW, UINT8, QParams, affine, grid_steps, symmetric
from fewbits.quantization.linear import bias_of, multiplies_activations
from fewbits.quantization.placement import Placement, place
from fewbits.quantization.recipe import Recipe

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class QuantPlan:
    """Everything ``apply`` needs, by name, printable before it is applied.

    Args:
        values: activations that carry Q/DQ, and their parameters (one scale per tensor).
        weights: per INT8 node the parameters of its weights (one scale per output channel).
        integer: nodes that run in INT8, the ones without weights included.
        skipped: nodes kept in float, each with the reason.
        int32_bias: whether biases are quantized to INT32 with the scale of the products.
        on_integers: of ``integer``, nodes that move values and work on the 8-bit numbers themselves.
    """

    values: dict[str, QParams]
    weights: dict[str, QParams]
    integer: tuple[str, ...]
    skipped: dict[str, str]
    int32_bias: bool
    on_integers: tuple[str, ...] = ()


def plan(
    model: ir.Model,
    ranges: Ranges,
    recipe: Recipe,
    capability: Capability,
    known: Mapping[str, QParams] | None = None,
    unusable: Mapping[str, str] | None = None,
) -> QuantPlan:
    """Turn a recipe into a plan.

    Args:
        ranges: for every activation value its (low, high) as estimated from calibration data.
        known: parameters of the weights, where another plan of this model with the same layers has found them.
        unusable: values that have no range, each with the reason (see ``place``).

    Values that share one scale get the hull of their ranges. A range that never went below zero becomes
    UINT8, one that did becomes INT8 around zero where the engine prefers that, else UINT8 with a zero point.
    The operands of a product of activations are what the engine's kernel for them takes.
    """
    placement = place(model, recipe, capability, unusable)
    values = {value.name or "": _activation(placement, value, ranges, recipe, capability) for value in placement.values}
    weighted = [node for node in placement.compute if not multiplies_activations(node)]
    weights = known or {node_name(node): weight_params(node, _weights(node), recipe.weight_bits) for node in weighted}
    if capability.int32_bias:
        weights = {node_name(node): _room_for_bias(node, values, weights[node_name(node)]) for node in weighted}
    integer = [node for node in model.graph if node in placement.integer]
    return QuantPlan(
        values,
        dict(weights),
        tuple(map(node_name, integer)),
        placement.skipped,
        capability.int32_bias,
        tuple(node_name(node) for node in integer if node.op_type in capability.on_integers),
    )


def _activation(
    placement: Placement, value: ir.Value, ranges: Ranges, recipe: Recipe, capability: Capability
) -> QParams:
    members = placement.group(value)
    known = [ranges[v.name] for v in members if v.name and v.name in ranges]
    if not known:
        raise ValueError(f"no range was collected for {value.name}")
    low, high = min(low for low, _ in known), max(high for _, high in known)
    if any(member in placement.signed for member in members):
        # It takes the weights' place in the kernel, and saturates where 8-bit weights would.
        return symmetric(np.float32(max(-low, high)), INT7 if recipe.weight_bits == 7 else INT8)
    centred = capability.signed_symmetric or any(member in placement.centred for member in members)
    if low < 0 and centred:
        return symmetric(np.float32(max(-low, high)), INT8)
    return affine(low, high, UINT8)


def weight_params(node: ir.Node, weights: NDArray[np.float32], bits: int) -> QParams:
    """Symmetric scales per output channel: w [O, I, kh, kw], axis 0 → scale [O].

    Where a channel's weights lie on a grid already, its step is the scale, and none of them changes.
    """
    axis, format = queries.weight_axis(node), INT7 if bits == 7 else INT8_NARROW
    others = tuple(i for i in range(weights.ndim) if i != axis)
    steps = grid_steps(weights, axis, format.qmax)
    reach = np.maximum(weights.max(axis=others), -weights.min(axis=others))
    return symmetric(np.where(steps > 0, steps * format.qmax, reach), format, axis=axis)


def _room_for_bias(node: ir.Node, values: Mapping[str, QParams], weights: QParams) -> QParams:
    """The same with room for the node's bias, where it has one."""
    source = node.inputs[0]
    held = bias_of(node)
    bias = None if held is None else queries.constant(held[0].inputs[held[1]])
    if source is None or source.name is None or source.name not in values or bias is None:
        return weights
    return qdq.room_for_bias(weights, values[source.name], bias)


def _weights(node: ir.Node) -> NDArray[np.float32]:
    array = queries.constant(node.inputs[WEIGHT_INPUT])
    if array is None:
        raise ValueError(f"{node_name(node)} has no constant weights")
    if not np.isfinite(array).all():
        raise ModelError(
            "its weights hold NaN or infinity", where=node_name(node), fix="repair the model, or keep the node float"
        )
    return array.astype(np.float32, copy=False)
