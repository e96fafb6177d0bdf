"""Which layers move between INT8 and float together, as an engine's integer kernels have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.engines.capability import Capability
from fewbits.graph.queries import node_name
from fewbits.quantization.placement import Placement, place
from fewbits.quantization.recipe import Recipe


@dataclass(frozen=True)
class Group:
    """One layer that multiplies, and what an engine fuses into it or computes in 8 bits for its sake.

    Args:
        name: of the layer's node.
        nodes: the integer nodes that are float as soon as this layer is, itself among them.
        alone: the values that carry quantizers where this group alone is INT8.
        without: the values that still carry them where this group alone is float.
    """

    name: str
    nodes: tuple[str, ...]
    alone: frozenset[str]
    without: frozenset[str]


def groups(
    model: ir.Model, recipe: Recipe, capability: Capability, unusable: Mapping[str, str] | None = None
) -> tuple[Group, ...]:
    """All groups of a model, in its order.

    What moves together is not guessed: quantizers are placed anew with the layer in float, and with all others in
    float; what changes is the group. ``unusable`` is as for ``place``.
    """
    whole = place(model, recipe, capability, unusable)
    names = [node_name(node) for node in whole.compute]
    found = []
    for name in names:
        without = place(model, recipe.sending([name], "float"), capability, unusable)
        alone = place(model, recipe.sending([other for other in names if other != name], "float"), capability, unusable)
        stay = set(without.integer)
        moved = tuple(node_name(node) for node in whole.integer if node not in stay)
        found.append(Group(name, moved, _values(alone), _values(without)))
    return tuple(found)


def _values(placement: Placement) -> frozenset[str]:
    return frozenset(value.name or "" for value in placement.values)
