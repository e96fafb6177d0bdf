"""What each group of layers costs in INT8 and in float, from the engines' own profiles.

Engines fuse, rename and reorder: an executed operator belongs to the group of the layer whose name it carries, with
the marks engines add taken off. What converts between formats (quantizers, dequantizers) belongs to borders: a group
that leaves INT8 gets two of them, and the time they take for each number is read from the same profile.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.engines import Profile
from fewbits.graph import queries
from fewbits.graph.ops import Role, role
from fewbits.graph.queries import node_name
from fewbits.quantization.groups import Group

# Marks that engines put on the name of a layer: OpenVINO its fused bias, ONNX Runtime a counter and the memory layout.
_MARKS = re.compile(r"(/WithoutBiases|_nchwc|_token_\d+|_fused|/fused)$")
_CONVERSION = re.compile(r"(.+)_(?:Quantize|Dequantize)Linear$")


@dataclass(frozen=True)
class Cost:
    """Microseconds of one group in one run: in INT8, and in float among INT8 neighbours, conversions included."""

    int8_us: float
    float_us: float


def costs(model: ir.Model, groups: Sequence[Group], integer: Profile, floating: Profile) -> dict[str, Cost]:
    """The cost of each group, by its name; groups that either profile does not name are left out.

    Args:
        integer: of the INT8 model.
        floating: of the FP32 model, executed in the format that floating-point layers of a mix execute in.
    """
    owner = _owners(model, groups)
    int8_us, float_us = _by_group(integer, owner), _by_group(floating, owner)
    rate = _conversion_us(model, integer)
    nodes = {node_name(node): node for node in model.graph}
    found = {}
    for group in groups:
        if group.name in int8_us and group.name in float_us:
            node = nodes[group.name]
            borders = rate * (_numbers(node.inputs[0]) + _numbers(node.outputs[0]))
            found[group.name] = Cost(int8_us[group.name], float_us[group.name] + borders)
    return found


def _owners(model: ir.Model, groups: Sequence[Group]) -> dict[str, str]:
    """Executed name → group. A node between layers (an activation, a sum) is fused into the layer before it."""
    names = {group.name for group in groups}
    owner = {name: name for name in names}
    for node in model.graph:
        name = node_name(node)
        if name in names or role(node.op_type) is Role.COMPUTE:
            continue
        before = next((v.producer() for v in node.inputs if v is not None and v.producer() is not None), None)
        if before is not None and node_name(before) in owner:
            owner[name] = owner[node_name(before)]
    return owner


def _by_group(profile: Profile, owner: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for op in profile.ops:
        name = op.name
        while name not in owner and (plain := _MARKS.sub("", name)) != name:
            name = plain
        if name in owner:
            found[owner[name]] = found.get(owner[name], 0.0) + op.time_us
    return found


def _conversion_us(model: ir.Model, profile: Profile) -> float:
    """Median time of a conversion a number; 0 where the engine fuses all of them."""
    sizes = {v.name: _numbers(v) for node in model.graph for v in (*node.inputs, *node.outputs) if v is not None}
    rates = []
    for op in profile.ops:
        matched = _CONVERSION.match(_MARKS.sub("", op.name))
        if matched and sizes.get(matched[1]):
            rates.append(op.time_us / sizes[matched[1]])
    return statistics.median(rates) if rates else 0.0


def _numbers(value: ir.Value | None) -> int:
    return (queries.numel(value) or 0) if value is not None else 0
