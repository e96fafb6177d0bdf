"""Scales and shifts behind a linear layer disappear into it: batch norm, Mul, Div, Add, Sub, Neg by constants.

For y = s (W x + b) + t, one s and t for each output channel:

    W' = s W        b' = s b + t

A batch norm is s = gamma / sqrt(var + eps), t = beta - s mean (Jacob et al. 2018, eq. 14). A chain is folded one node
after the other. Groups are no obstacle.

It refuses where the node is not the only reader of the layer's result, where that result is a model output, where the
constants differ along another axis than the channels or would give the result more axes or channels, where weights,
bias or a parameter move, where a batch norm is in training mode, a Gemm transposes its input or has a row of bias for
each sample, or where a folded number would not be finite: the node then stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.passes.affine import by_channel
from fewbits.passes.layer import absorb, fold_each, read, scaled, sole_reader


def fold_after(model: ir.Model) -> bool:
    """Fold what follows each linear layer into it; whether anything was."""
    return fold_each(model, _fold)


def _fold(model: ir.Model, node: ir.Node) -> bool:
    layer = read(node)
    follower = None if layer is None else sole_reader(layer.output)
    if layer is None or follower is None:
        return False
    found = by_channel(follower, layer.rank, layer.axis, layer.channels)
    if found is None:
        return False
    s, t = found
    bias = t if layer.bias is None else s * layer.bias + t
    factor = layer.by_output(s * layer.gain)
    with np.errstate(over="ignore", invalid="ignore"):
        weights = None if (s == 1).all() else scaled(layer.weights, factor)
        if not all(np.isfinite(a.astype(layer.weights.dtype)).all() for a in (bias, s) if a is not None):
            return False
        if weights is not None and not np.isfinite(weights).all():
            return False
    if node.op_type == "MatMul" and layer.add is None and (t != 0).any():
        return False  # the shift would only change its node
    absorb(model, layer.output, follower)
    layer.write(model, weights, None if layer.bias is None and not t.any() else bias)
    return True
