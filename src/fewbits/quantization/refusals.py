"""Why a node that could run in INT8 does not: the recipe's word, the engine's kernels, or the shape of the node."""

from __future__ import annotations

import math

import onnx_ir as ir

from fewbits.engines.capability import Capability
from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, float_reason, role
from fewbits.graph.queries import node_name
from fewbits.quantization.activations import after_activations
from fewbits.quantization.linear import bias_of, multiplies_activations
from fewbits.quantization.recipe import Recipe

_JOINING = (Role.JOIN, Role.POOL, Role.CARRY)


def kept_float(model: ir.Model, recipe: Recipe) -> dict[ir.Node, str]:
    """What joins or moves values and would follow its readers into INT8, but for a rule of the recipe; and the rule."""
    kept = {}
    for node in model.graph:
        rule = recipe.rule_for(node_name(node), node.op_type) if role(node.op_type) in _JOINING else None
        if rule is not None and rule.choice == "float":
            kept[node] = rule.reason
    return kept


def why_float(node: ir.Node, recipe: Recipe, capability: Capability) -> str | None:
    """None for a node to run in INT8, else the reason; '' for nodes nobody expects in INT8."""
    if role(node.op_type) is not Role.COMPUTE:
        return float_reason(node.op_type) if role(node.op_type) is Role.FLOAT else ""
    choice, why = recipe.choice(node_name(node), node.op_type)
    if choice == "float":
        return why
    if node.op_type not in capability.compute:
        return f"the engine has no integer kernel for {node.op_type}"
    if not queries.is_float(node.inputs[0]):
        return "its input is not FP32"
    if node.op_type in capability.not_shared and node.outputs[0].is_graph_output() and node.outputs[0].uses():
        return "its result is a model output and is read on; the integer kernel hands on other numbers with free sizes"
    reason = _activations(node, capability) if multiplies_activations(node) else _weights(node, capability)
    if reason is not None:
        return reason
    if node.op_type in capability.output_ops and after_activations(node.outputs[0], capability).is_graph_output():
        return "its result is a model output; the integer kernel would have to round it to 8 bits"
    return None


def _activations(node: ir.Node, capability: Capability) -> str | None:
    """Two activations, as in attention."""
    if queries.is_constant(node.inputs[0]):
        return "its constant stands on the left; the integer kernels take weights on the right only"
    if node.op_type in capability.moving_no_faster:
        return "it multiplies two activations; the engine gains no speed from INT8 there"
    if node.op_type not in capability.moving:
        return f"it multiplies two activations; the engine's integer kernel for {node.op_type} needs constant weights"
    if not queries.is_float(node.inputs[WEIGHT_INPUT]):
        return "its second operand is not FP32"
    return None


def _weights(node: ir.Node, capability: Capability) -> str | None:
    """An activation and constant weights."""
    shape = queries.dims_or_raise(node.inputs[WEIGHT_INPUT])
    if not all(shape):
        return "its weights are empty"
    if len(shape) < 2:
        return "its weights are a vector; the integer kernels take a matrix"
    if node.op_type in capability.one_matrix and len(shape) > 2:
        count = math.prod(size or 0 for size in shape[:-2])
        return f"its weights are a stack of {count} matrices; the integer kernel takes one"
    if node.op_type != "Gemm":
        return None
    scaled = [k for k in ("alpha", "beta") if k in node.attributes and node.attributes[k].as_float() != 1.0]
    if scaled or ("transA" in node.attributes and node.attributes["transA"].as_int()):
        return "a Gemm with alpha, beta or transA has no integer kernel"
    held = bias_of(node)
    if capability.int32_bias and held is not None:
        bias = queries.constant(held[0].inputs[held[1]])
        if bias is None or bias.shape != (shape[queries.weight_axis(node)],):
            return "its bias is not a constant vector of one number per output; the integer kernel needs that"
    return None
