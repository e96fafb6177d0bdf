"""Batch norms disappear into the convolution, transposed convolution or Gemm before them.

For y = gamma * (W x + b - mean) / sqrt(var + eps) + beta, with s = gamma / sqrt(var + eps):

    W' = s W        b' = s (b - mean) + beta        (Jacob et al. 2018, eq. 14)

It refuses where the batch norm is not the only reader of the convolution, where the convolution's result is a
model output, where a parameter is not constant, or in training mode: the batch norm then stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT

_LINEAR = ("Conv", "ConvTranspose", "Gemm")


def fold_batchnorm(model: ir.Model) -> None:
    """Fold every batch norm that follows a linear operator with constant weights."""
    for node in list(model.graph):
        if node.op_type == "BatchNormalization":
            _fold(model, node)


def _fold(model: ir.Model, norm: ir.Node) -> None:
    source = norm.inputs[0]
    linear = None if source is None else source.producer()
    parameters = [queries.constant(value) for value in norm.inputs[1:5]]
    training = norm.attributes.get("training_mode")
    if source is None or linear is None or linear.op_type not in _LINEAR or any(p is None for p in parameters):
        return
    if len(source.uses()) != 1 or source.is_graph_output() or (training is not None and training.as_int()):
        return
    weights = queries.constant(linear.inputs[WEIGHT_INPUT])
    bias_value = linear.inputs[BIAS_INPUT] if len(linear.inputs) > BIAS_INPUT else None
    bias = queries.constant(bias_value)
    if weights is None or (bias_value is not None and bias is None) or not _plain(linear):
        return
    # FP64 until the end: s and b' are differences and quotients whose rounding would add to the network's.
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    s = gamma / np.sqrt(variance + epsilon)
    if bias is not None and bias.size not in (1, s.size):
        return  # a Gemm's C [M, N] has a row for every sample
    bias = None if bias is None else bias.reshape(-1)  # a Gemm's C may be [1, N]
    axis = queries.weight_axis(linear)
    if linear.op_type == "ConvTranspose" and queries.group(linear) > 1:
        return  # axis 1 holds the channels of one group only; s would need to be cut per group
    along: list[int] = [1] * weights.ndim
    along[axis] = -1
    folded = (weights * s.reshape(along)).astype(weights.dtype)
    shifted = (s * ((0.0 if bias is None else bias) - mean) + beta).astype(weights.dtype)
    _replace(model, linear, WEIGHT_INPUT, folded, "weight")
    _replace(model, linear, BIAS_INPUT, np.broadcast_to(shifted, s.shape).copy(), "bias")
    old, new = norm.outputs[0], linear.outputs[0]
    new.shape, new.type = old.shape or new.shape, old.type or new.type
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    model.graph.remove(norm, safe=True)
    new.name = name  # readers, profiles and statistics know the value by the batch norm's name


def _plain(linear: ir.Node) -> bool:
    """A Gemm with alpha or beta other than 1 would need them folded as well."""
    if linear.op_type != "Gemm":
        return True
    return all(linear.attributes[k].as_float() == 1.0 for k in ("alpha", "beta") if k in linear.attributes)


def _replace(model: ir.Model, node: ir.Node, index: int, array: NDArray[np.generic], suffix: str) -> None:
    replace_input(model, node, index, add_initializer(model, f"{node.name}.folded_{suffix}", array))
