"""Scales and shifts in front of a linear layer disappear into it: Mul, Div, Add, Sub, Neg and batch norm by constants.

For y = W (s x + t) + b, one s and t for each input channel:

    W' = W s        b' = b + W t (summed over input channels and kernel)

It refuses a shift where the layer pads with zeros (the border must see W 0, and would see W t), at a ConvTranspose
(an output near the border or between strides sums over part of the kernel only) and at a MatMul without a bias (the
shift would only move behind it). It refuses everything where the layer is not the only reader, where the scaled value
is a model output, where the constants differ along another axis than the channels or make channels that the activation
does not have, where weights or bias move, where a folded number would not be finite, and where the node ends a GELU or
normalisation that engines compute as one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.passes.affine import by_channel, engine_fused, moving_input
from fewbits.passes.layer import Float, Layer, fold_each, read, scaled, sole_reader


def fold_before(model: ir.Model) -> bool:
    """Fold what stands in front of each linear layer into it; whether anything was."""
    return fold_each(model, _fold)


def _fold(model: ir.Model, node: ir.Node) -> bool:
    layer = read(node)
    affine = None if layer is None else layer.source.producer()
    value = moving_input(affine)
    if layer is None or affine is None or value is None or sole_reader(layer.source) is not node:
        return False
    shape = queries.dims(value)
    if shape is None or len(shape) != layer.rank or shape[layer.axis] != layer.channels_read:
        return False  # the constant makes channels or axes that the activation does not have
    found = by_channel(affine, layer.rank, layer.axis, layer.channels_read)
    if found is None or engine_fused(affine) or (found[1].any() and not _takes_shift(layer)):
        return False
    s, t = found
    with np.errstate(over="ignore", invalid="ignore"):
        weights = scaled(layer.weights, layer.by_input(s * layer.gain))
        bias = layer.bias
        if t.any():
            bias = _response(layer, t) + (0.0 if bias is None else bias)
        if not np.isfinite(weights).all() or (bias is not None and not np.isfinite(bias.astype(weights.dtype)).all()):
            return False
    node.replace_input_with(0, value)
    model.graph.remove(affine, safe=True)
    layer.write(model, weights, bias)
    return True


def pads_nothing(node: ir.Node) -> bool:
    """Whether a convolution sees only numbers of its input, no zeros around them."""
    auto, pads = node.attributes.get("auto_pad"), node.attributes.get("pads")
    if auto is not None and auto.as_string() not in ("NOTSET", "VALID"):
        return False
    return pads is None or not any(pads.as_ints()) or (auto is not None and auto.as_string() == "VALID")


def _takes_shift(layer: Layer) -> bool:
    match layer.node.op_type:
        case "Conv":
            return pads_nothing(layer.node)
        case "MatMul":
            return layer.add is not None
        case kind:
            return kind == "Gemm"


def _response(layer: Layer, t: Float) -> Float:
    """What the layer gives for a constant input t, without its bias: f64[O]."""
    spread = layer.weights * layer.by_input(t * layer.gain)
    kept = queries.weight_axis(layer.node)
    total: Float = spread.sum(axis=tuple(i for i in range(spread.ndim) if i != kept))
    return total
