"""Bias correction from the inputs' means: no run of the model is needed.

Rounded weights shift the expected output of a layer, E[W~ x] = E[W x] - (W - W~) E[x]; the shift is the same for every
input and is taken back in the bias (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", equation 17)::

    b' = b + (W - W~) E[x]

The means come from calibration, per input channel. At the border of a padded convolution, where zeros take the place
of x, the correction is too large; on real networks that costs less than the noise of measuring the shift does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.statistics import Statistics
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import BIAS_INPUT
from fewbits.graph.queries import constant, dims, node_name
from fewbits.numerics import fake_quantize
from fewbits.quantization.linear import bias_of, by_channel, weights_of
from fewbits.quantization.plan import QuantPlan

Shifts = Mapping[str, NDArray[np.float32]]


def mean_shifts(model: ir.Model, corrected: ir.Model, plan: QuantPlan, statistics: Statistics) -> Shifts:
    """(W - W~) E[x] of every INT8 node that can hold a bias, f32[O] by the node's name.

    Args:
        model: holds W.
        corrected: the same graph; its weights, quantized by the plan, are W~.
    """
    shifts = {}
    rounded = {node_name(node): node for node in corrected.graph}
    for node in model.graph:
        name = node_name(node)
        if name not in plan.weights or not holds_bias(node) or node.inputs[0] is None:
            continue
        known = statistics.values.get(node.inputs[0].name or "")
        error = by_channel(node, weights_of(node) - fake_quantize(weights_of(rounded[name]), plan.weights[name]))
        if known is None or error is None or known.mean.size != error.shape[0] * error.shape[2]:
            continue
        means = known.mean.reshape(error.shape[0], 1, -1)
        shifts[name] = (error.sum(axis=3, dtype=np.float64) * means).sum(axis=2).reshape(-1).astype(np.float32)
    return shifts


def holds_bias(node: ir.Node) -> bool:
    """Convolutions and Gemm have a place for a bias per output channel; a MatMul only with an Add behind it.

    Of a MatMul, statistics know the channels where they are the last axis of two or three.
    """
    if node.op_type == "MatMul":
        shape = dims(node.outputs[0])
        return bias_of(node) is not None and shape is not None and len(shape) <= 3
    return node.op_type in ("Conv", "ConvTranspose", "Gemm")


def shift_biases(model: ir.Model, shifts: Shifts) -> ir.Model:
    """A copy of the FP32 model with the shifts added to its biases; the given model stays as it is."""
    model = model.clone()
    for node in list(model.graph):
        shift = shifts.get(node_name(node))
        if shift is None:
            continue
        holder, index = bias_of(node) or (node, BIAS_INPUT)
        bias = constant(holder.inputs[index]) if len(holder.inputs) > index else None
        value = add_initializer(model, f"{node_name(node)}.corrected_bias", shift if bias is None else bias + shift)
        replace_input(model, holder, index, value)
    return model
