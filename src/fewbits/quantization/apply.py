"""A plan made real: Q/DQ around activations, integer weights, and on every node what was decided."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import qdq, queries
from fewbits.graph.names import unique_names
from fewbits.graph.ops import WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.numerics import QParams, quantize
from fewbits.quantization.exposed import has_float_weights
from fewbits.quantization.linear import bias_of
from fewbits.quantization.plan import QuantPlan


def apply(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """Build the quantized model; the input model stays as it is and its weights are shared, not copied."""
    model = model.clone()
    with unique_names(model):
        _apply(model, plan)
    return model


def _apply(model: ir.Model, plan: QuantPlan) -> None:
    by_name = {node_name(node): node for node in model.graph}
    # Before anything is inserted: a value of the model may have a name that an inserted one gets first.
    values = {v.name: v for node in model.graph for v in node.outputs} | {v.name: v for v in model.graph.inputs}
    inputs = {name: by_name[name].inputs[0] for name in plan.weights}
    input_names = {name: value.name for name, value in inputs.items() if value is not None}
    if plan.int32_bias:
        for name, params in plan.weights.items():
            source = plan.values.get(input_names[name] or "")
            if source is not None:
                _quantize_bias(model, by_name[name], source, params)
    for name, params in plan.weights.items():
        _quantize_weights(model, by_name[name], params)
    for value_name, params in plan.values.items():
        _quantize_value(model, values[value_name], params, frozenset(plan.integer))
    for name in plan.on_integers:
        qdq.onto_integers(model, by_name[name])
    for name, node in by_name.items():
        if name in plan.integer:
            node.metadata_props[qdq.LEVEL_KEY] = "I8"
        elif name in plan.skipped:
            node.metadata_props[qdq.REASON_KEY] = plan.skipped[name]


def _quantize_value(model: ir.Model, value: ir.Value, params: QParams, integer: frozenset[str]) -> None:
    """Q and DQ behind a value; what is there in float, float readers (a residual sum) still read unrounded.

    What an integer kernel made leaves it in 8 bits, so that there every reader takes the same 8 bits.
    """
    producer = value.producer()
    made_in_float = producer is None or node_name(producer) not in integer
    float_uses = [(node, index) for node, index in value.uses() if node_name(node) not in integer]
    exposed = [use for use in float_uses if has_float_weights(use[0], integer)]
    dequantized = qdq.insert(model, value, params)
    axis = _spreadable(value)
    if made_in_float or axis is None:
        for node, index in float_uses if made_in_float else exposed:
            node.replace_input_with(index, value)
    elif exposed:
        qdq.spread(model, dequantized, axis, exposed)


def _spreadable(value: ir.Value) -> int | None:
    """An axis of known size above one: for [N, C, H, W] 1. Along the last one a kernel has one number per scale."""
    sizes = queries.dims(value) or ()
    order = sorted(range(len(sizes)), key=lambda axis: (axis == len(sizes) - 1, axis == 0))
    return next((axis for axis in order if (sizes[axis] or 1) > 1), None)


def _quantize_weights(model: ir.Model, node: ir.Node, params: QParams) -> None:
    weights = queries.constant(node.inputs[WEIGHT_INPUT])
    if weights is None:
        raise ValueError(f"{node_name(node)} has no constant weights")
    qdq.insert_constant(model, node, WEIGHT_INPUT, quantize(weights, params), params)


def _quantize_bias(model: ir.Model, node: ir.Node, source: QParams, weights: QParams) -> None:
    """The plan leaves room in 32 bits for every bias."""
    held = bias_of(node)
    if held is not None:
        qdq.insert_bias(model, *held, source, weights)
