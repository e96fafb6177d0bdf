"""Where quantizers go: from the integer kernels an engine has to the values that carry Q/DQ.

Quantizing is demanded from below. A convolution that shall run in INT8 demands 8 bits of its input; operators
that only move values pass the demand up, with one scale for both sides; what finally produces the value gets
the quantizer. Nothing is quantized that no integer kernel reads, so a detection head's last concat, which mixes
boxes with scores, never shares a scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from fewbits.engines.capability import Capability
from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, float_reason, role
from fewbits.graph.queries import node_name
from fewbits.quantization.recipe import Recipe


@dataclass
class Placement:
    """The nodes that run in INT8, the values that carry a quantizer, and which of them share one scale.

    ``scale_of`` maps each quantized value to the value that stands for its group (itself where it is alone).
    """

    compute: dict[ir.Node, None] = field(default_factory=dict)
    integer: dict[ir.Node, None] = field(default_factory=dict)
    values: dict[ir.Value, None] = field(default_factory=dict)
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


def place(model: ir.Model, recipe: Recipe, capability: Capability) -> Placement:
    """Decide where quantizers go so that the engine's integer kernels run."""
    placement = Placement()
    for node in model.graph:
        reason = _why_float(node, recipe, capability)
        if reason is None:
            placement.compute[node] = None
        elif reason:
            placement.skipped[node_name(node)] = reason
    search = _Search(placement, capability)
    for node in placement.compute:
        search.demand(_input(node, 0))
        if node.op_type in capability.output_ops:
            search.demand(after_activations(node.outputs[0], capability))
    placement.integer.update(placement.compute)
    _explain_rest(model, placement, capability)
    return placement


def values_to_watch(model: ir.Model, recipe: Recipe, capabilities: Iterable[Capability]) -> list[str]:
    """Names of all activations whose range any of these engines will ask for."""
    wanted: dict[str, None] = {}
    for capability in capabilities:
        placement = place(model, recipe, capability)
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
    for node in model.graph:
        name = node_name(node)
        if node in placement.integer or name in placement.skipped:
            continue
        if node.op_type in capability.joins or node.op_type in capability.carries:
            placement.skipped[name] = "no integer kernel reads its result; it stays in floating point"
        else:
            placement.skipped[name] = float_reason(node.op_type)


def _why_float(node: ir.Node, recipe: Recipe, capability: Capability) -> str | None:
    """None for a node to run in INT8, else the reason; '' for nodes nobody expects in INT8."""
    if role(node.op_type) is not Role.COMPUTE:
        return float_reason(node.op_type) if role(node.op_type) is Role.FLOAT else ""
    name = node_name(node)
    choice, why = recipe.choice(name, node.op_type)
    if choice == "float":
        return why
    if node.op_type not in capability.compute:
        return f"the engine has no integer kernel for {node.op_type}"
    if not queries.is_constant(node.inputs[WEIGHT_INPUT]):
        return "both operands move; only constant weights are quantized"
    if not queries.is_float(node.inputs[0]):
        return "its input is not FP32"
    if not all(queries.dims_or_raise(node.inputs[WEIGHT_INPUT])):
        return "its weights are empty"
    if node.op_type in capability.output_ops and after_activations(node.outputs[0], capability).is_graph_output():
        return "its result is a model output; the integer kernel would have to round it to 8 bits"
    if node.op_type == "Gemm":
        scaled = [k for k in ("alpha", "beta") if k in node.attributes and node.attributes[k].as_float() != 1.0]
        if scaled or ("transA" in node.attributes and node.attributes["transA"].as_int()):
            return "a Gemm with alpha, beta or transA has no integer kernel"
    return None


@dataclass
class _Search:
    placement: Placement
    capability: Capability

    def demand(self, value: ir.Value) -> None:
        """Have ``value`` in 8 bits, and what produces it where that pays."""
        placement, capability = self.placement, self.capability
        if value in placement.values:
            return
        producer = value.producer()
        if producer is not None and self._passes_through(producer):
            placement.integer[producer] = None
            if capability.requantize_carries:
                placement.values[value] = None
            for source in _moving_inputs(producer):
                placement.share(source, value)
                self.demand(source)
            return
        placement.values[value] = None
        self._demand_above(value)

    def _passes_through(self, node: ir.Node) -> bool:
        if node.op_type == "Concat":
            return "Concat" in self.capability.joins and all(map(queries.is_float, node.inputs))
        return node.op_type in self.capability.carries

    def _demand_above(self, value: ir.Value) -> None:
        """Joins and pools before a quantized value run in 8 bits when their inputs are quantized too."""
        source = before_activations(value, self.capability)
        producer = source.producer()
        if producer is None or not all(queries.is_float(v) for v in producer.inputs):
            return
        if producer.op_type in self.capability.joins:
            self.placement.integer[producer] = None
            for other in _moving_inputs(producer):
                self.demand(other)
        elif producer.op_type == "Add" and self.capability.fuses_add:
            moving = _moving_inputs(producer)
            fused = next((v for v in moving if self._fusible(v)), None)
            if fused is not None:
                self.placement.integer[producer] = None
                for other in moving:
                    if other is not fused:
                        self.demand(other)

    def _fusible(self, value: ir.Value) -> bool:
        """Whether ``value`` comes straight from an integer kernel that can add the other operand itself."""
        return value.producer() in self.placement.compute and len(queries.users(value)) == 1


def after_activations(value: ir.Value, capability: Capability) -> ir.Value:
    """The value after the activations the engine fuses behind ``value``'s producer."""
    while True:
        following = queries.users(value)
        if value.is_graph_output():
            return value
        if len(following) == 1 and following[0].op_type in capability.activations:
            value = following[0].outputs[0]
        elif (product := swish(value)) is not None and "Sigmoid" in capability.activations:
            value = product
        else:
            return value


def before_activations(value: ir.Value, capability: Capability) -> ir.Value:
    """The value before the activations that end in ``value``."""
    while (node := value.producer()) is not None:
        source = None
        if node.op_type in capability.activations:
            source = _input(node, 0)
        elif node.op_type == "Mul" and "Sigmoid" in capability.activations:
            source = next((v for v in node.inputs if v is not None and swish(v) is value), None)
        if source is None or after_activations(source, capability) is source:
            return value
        value = source
    return value


def swish(value: ir.Value) -> ir.Value | None:
    """The output of ``value * Sigmoid(value)`` where that is all ``value`` is used for."""
    following = queries.users(value)
    gate = next((node for node in following if node.op_type == "Sigmoid"), None)
    product = next((node for node in following if node.op_type == "Mul"), None)
    if len(following) == 2 and gate is not None and product is not None:
        gated = gate.outputs[0]
        if gated in product.inputs and queries.users(gated) == [product]:
            return product.outputs[0]
    return None


def swish_product(node: ir.Node) -> bool:
    """Whether ``node`` is the Mul of ``x * Sigmoid(x)``."""
    return node.op_type == "Mul" and any(v is not None and swish(v) is node.outputs[0] for v in node.inputs)


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node_name(node)} lacks input {index}")
    return value


def _moving_inputs(node: ir.Node) -> list[ir.Value]:
    """Float inputs that are computed, not constant; of a CARRY only the data, not its indices or shapes."""
    inputs = node.inputs if role(node.op_type) is not Role.CARRY else node.inputs[:1]
    return [v for v in inputs if v is not None and not queries.is_constant(v) and queries.is_float(v)]
