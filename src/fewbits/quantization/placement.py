"""Where quantizers go: from the integer kernels an engine has to the values that carry Q/DQ.

Quantizing is demanded from below. A convolution that shall run in INT8 demands 8 bits of its input; operators
that only move values pass the demand up, with one scale for both sides; what finally produces the value gets
the quantizer. Nothing is quantized that no integer kernel reads, so a detection head's last concat, which mixes
boxes with scores, never shares a scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from fewbits.engines.capability import Capability
from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, float_reason, role
from fewbits.graph.queries import node_name
from fewbits.quantization.activations import after_activations, before_activations, swish_product
from fewbits.quantization.linear import bias_of, multiplies_activations
from fewbits.quantization.logarithms import before_logarithms
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.refusals import kept_float, why_float
from fewbits.quantization.written_out import written_out

# What hands out parts of one tensor, such as queries, keys and values of one projection.
_PARTS = ("Split", "Slice", "Gather")


@dataclass
class Placement:
    """The nodes that run in INT8, the values that carry a quantizer, and which of them share one scale.

    ``scale_of`` maps each quantized value to the value that stands for its group (itself where it is alone).
    ``centred`` values need zero point 0 for their kernel to run in integers, ``signed`` ones INT8 as well.
    """

    compute: dict[ir.Node, None] = field(default_factory=dict)
    integer: dict[ir.Node, None] = field(default_factory=dict)
    values: dict[ir.Value, None] = field(default_factory=dict)
    centred: dict[ir.Value, None] = field(default_factory=dict)
    signed: dict[ir.Value, None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    _leader: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def scale_of(self, value: ir.Value) -> ir.Value:
        """The value that stands for ``value``'s group."""
        while (leader := self._leader.get(value, value)) is not value:
            value = leader
        return value

    def share(self, one: ir.Value, other: ir.Value) -> None:
        """Let two values have one scale."""
        first, second = self.scale_of(one), self.scale_of(other)
        if first is not second:
            self._leader[second] = first

    def group(self, value: ir.Value) -> list[ir.Value]:
        """All values with the same scale as ``value``."""
        leader = self.scale_of(value)
        known = dict.fromkeys([*self.values, *self._leader, *self._leader.values(), value])
        return [member for member in known if self.scale_of(member) is leader]


def place(
    model: ir.Model, recipe: Recipe, capability: Capability, unusable: Mapping[str, str] | None = None
) -> Placement:
    """Decide where quantizers go so that the engine's integer kernels run.

    Args:
        unusable: names of values that can have no scale, each with the reason. Nodes that would read or write them in
            8 bits stay in floating point.
    """
    barred: dict[ir.Node, str] = {}
    while True:
        placement = _place(model, recipe, capability, barred)
        found = _unquantizable(placement, unusable or {})
        if not found:
            return placement
        barred |= found


def _place(model: ir.Model, recipe: Recipe, capability: Capability, barred: Mapping[ir.Node, str]) -> Placement:
    """One attempt, with some nodes in floating point from the start."""
    placement = Placement()
    pieces = before_logarithms(model) | written_out(model)
    kept = {**kept_float(model, recipe), **barred}
    for node in model.graph:
        reason = pieces.get(node) or kept.get(node) or why_float(node, recipe, capability)
        if reason is None:
            placement.compute[node] = None
        elif reason:
            placement.skipped[node_name(node)] = reason
    search = _Search(placement, capability, frozenset(pieces), frozenset(kept))
    for node in placement.compute:
        if multiplies_activations(node):
            search.demand_operands(node)
            continue
        search.demand(_input(node, 0))
        if (held := bias_of(node)) is not None:
            placement.integer[held[0]] = None
        if node.op_type in capability.output_ops:
            search.demand(after_activations(node.outputs[0], capability))
    placement.integer.update(placement.compute)
    for node in model.graph:
        # OpenVINO pads such a pool with the integer 0 whatever the zero point is, also where it stands between Q/DQ.
        if queries.averages_padding(node):
            placement.centred[_input(node, 0)] = None
    _explain_rest(model, placement, capability)
    return placement


def _unquantizable(placement: Placement, unusable: Mapping[str, str]) -> dict[ir.Node, str]:
    """The INT8 nodes that touch a value without a scale, each with that value's reason."""
    found: dict[ir.Node, str] = {}
    reasons = {}
    for value in placement.values if unusable else ():
        for member in placement.group(value):
            if (reason := unusable.get(member.name or "")) is not None:
                reasons.update(dict.fromkeys(placement.group(value), f"{member.name} {reason}"))
    for node in placement.integer:
        touched = next((v for v in (*node.inputs, *node.outputs) if v in reasons), None)
        if touched is not None:
            found[node] = reasons[touched]
    return found


def values_to_watch(
    model: ir.Model, recipe: Recipe, capabilities: Iterable[Capability], unusable: Mapping[str, str] | None = None
) -> list[str]:
    """Names of all activations whose range any of these engines will ask for (``unusable`` as for ``place``)."""
    wanted: dict[str, None] = {}
    for capability in capabilities:
        placement = place(model, recipe, capability, unusable)
        for value in placement.values:
            for member in placement.group(value):
                wanted[member.name or ""] = None
    return list(wanted)


def _explain_rest(model: ir.Model, placement: Placement, capability: Capability) -> None:
    """Every node is either INT8 or has its reason. Activations belong to the integer kernel they are fused into."""
    for node in model.graph:
        if role(node.op_type) is Role.ACTIVATION or swish_product(node):
            before = before_activations(node.outputs[0], capability)
            if before is not node.outputs[0] and before.producer() in placement.integer:
                placement.integer[node] = None
        if node.op_type in capability.functions and all(v in placement.values for v in (*node.inputs, *node.outputs)):
            placement.integer[node] = None
    for node in model.graph:
        name = node_name(node)
        if node in placement.integer or name in placement.skipped:
            continue
        if node.op_type in ("Add", "Mul") and any(map(queries.is_constant, node.inputs)):
            placement.skipped[name] = "it combines an activation with a constant; rounding both would save nothing"
        elif node.op_type in capability.carries and not queries.only_moves(node):
            placement.skipped[name] = "it makes numbers of its own, which the 8 bits of its input may not hold"
        elif node.op_type in capability.joins or node.op_type in capability.carries:
            placement.skipped[name] = "no integer kernel takes its result over in 8 bits; it stays in floating point"
        else:
            placement.skipped[name] = float_reason(node.op_type)


@dataclass
class _Search:
    placement: Placement
    capability: Capability
    pieces: frozenset[ir.Node]
    kept: frozenset[ir.Node]

    def demand_operands(self, node: ir.Node) -> None:
        """Both operands of a product of activations in 8 bits, each with a scale of its own."""
        left, right = _input(node, 0), _input(node, WEIGHT_INPUT)
        for value in (left, right):
            self.demand(value, alone=True)
            if self.capability.moving_centred:
                self.placement.centred[value] = None
        if self.capability.moving_centred:
            self.placement.signed[right] = None

    def demand(self, value: ir.Value, *, alone: bool = False) -> None:
        """Have ``value`` in 8 bits, and what produces it where that pays.

        Args:
            alone: keep the scale from spreading over parts of one tensor and over sums: values are smaller than
                queries and keys, and would be left with few levels.
        """
        placement, capability = self.placement, self.capability
        if value in placement.values:
            return
        producer = value.producer()
        parts = alone and producer is not None and producer.op_type in _PARTS
        if producer is not None and producer not in self.kept and self._passes_through(producer) and not parts:
            placement.integer[producer] = None
            if capability.requantize_carries:
                placement.values[value] = None
            for source in _moving_inputs(producer):
                placement.share(source, value)
                self.demand(source, alone=alone)
            return
        placement.values[value] = None
        if not alone:
            self._demand_above(value)

    def _passes_through(self, node: ir.Node) -> bool:
        if node.op_type == "Concat":
            return "Concat" in self.capability.joins and all(map(queries.is_float, node.inputs))
        return node.op_type in self.capability.carries and queries.only_moves(node)

    def _demand_above(self, value: ir.Value) -> None:
        """Joins and pools before a quantized value run in 8 bits when their inputs are quantized too."""
        source = before_activations(value, self.capability)
        producer = source.producer()
        if producer is None or producer in self.pieces or producer in self.kept:
            return
        if not all(queries.is_float(v) for v in producer.inputs):
            return
        if producer.op_type in ("Add", "Mul") and any(map(queries.is_constant, producer.inputs)):
            return  # a bias is added in the kernel before it; any other constant would be rounded for nothing
        if producer.op_type in self.capability.joins:
            self.placement.integer[producer] = None
            for other in _moving_inputs(producer):
                self.demand(other)


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node_name(node)} lacks input {index}")
    return value


def _moving_inputs(node: ir.Node) -> list[ir.Value]:
    """Float inputs that are computed, not constant; of a CARRY only the data, not its indices or shapes."""
    inputs = node.inputs if role(node.op_type) is not Role.CARRY else node.inputs[:1]
    return [v for v in inputs if v is not None and not queries.is_constant(v) and queries.is_float(v)]
