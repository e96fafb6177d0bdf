"""Normalisations and the softmax family."""

from __future__ import annotations

from typing import Any

from ..builder import Builder
from ..values import Value
from .linear import images
from .moving import axes_op, signed


def batch_norm(b: Builder) -> Value:
    x = b.pick(lambda v: v.is_float and v.rank >= 2 and v.dims[1] is not None and v.shape[1] <= 64)
    return apply_batch_norm(b, x)


def apply_batch_norm(b: Builder, x: Value) -> Value:
    size = x.shape[1]
    ranges = ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5))
    parts = [b.vector(size, low, high, "bn") for low, high in ranges]
    found: Value = b.op(
        "BatchNormalization", x, *parts, epsilon=b.one_of(None, 1e-3, 1e-5), momentum=b.one_of(None, 0.8)
    )
    return found


def training_batch_norm(b: Builder) -> Value:
    """In training mode: the statistics are those of the batch itself."""
    b.since(14)
    x = b.pick(lambda v: v.is_float and v.rank >= 3 and v.dims[1] is not None and v.shape[1] <= 64)
    size = x.shape[1]
    parts = [b.vector(size, low, high, "bn") for low, high in ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 1.5))]
    found: Value = b.ops("BatchNormalization", x, *parts, training_mode=1, outputs=3)[0]
    return found


def instance_norm(b: Builder) -> Value:
    x = images(b)
    b.need(x.probes[0][0, 0].size > 3)
    return b.op(
        "InstanceNormalization", x, b.vector(x.shape[1], 0.5, 1.5), b.vector(x.shape[1]), epsilon=b.one_of(None, 1e-3)
    )


def layer_norm(b: Builder) -> Value:
    x = b.floats(2, 3, 4)
    axis = x.rank - 1 if b.chance(0.8) else x.rank - 2
    b.need(axis >= 1 and None not in x.dims[axis:] and x.shape[-1] >= 3)
    sizes = x.shape[axis:]
    scale = b.const(b.rng().uniform(0.5, 1.5, sizes), hint="scale")
    bias = b.const(b.rng().uniform(-0.5, 0.5, sizes), hint="bias") if b.chance(0.7) else None
    if b.opset >= 17 and b.chance(0.6):
        return b.op("LayerNormalization", x, scale, bias, axis=signed(b, axis, x.rank), epsilon=b.one_of(None, 1e-3))
    axes = list(range(axis, x.rank))
    centred = b.op("Sub", x, axes_op(b, "ReduceMean", x, axes, 18, keepdims=1))
    square = b.op("Pow", centred, b.const(2.0, hint="two")) if b.chance(0.6) else b.op("Mul", centred, centred)
    variance = axes_op(b, "ReduceMean", square, axes, 18, keepdims=1)
    deviation = b.op("Sqrt", b.op("Add", variance, b.const(b.one_of(1e-5, 1e-3, 1e-12), hint="eps")))
    y = b.op("Mul", b.op("Div", centred, deviation), scale)
    return y if bias is None else b.op("Add", y, bias)


def rms_norm(b: Builder) -> Value:
    x = b.floats(2, 3, 4)
    b.need(x.dims[-1] is not None)
    scale = b.vector(x.shape[-1], 0.5, 1.5)
    if b.opset >= 23 and b.chance(0.7):
        return b.op("RMSNormalization", x, scale, axis=-1, epsilon=b.one_of(None, 1e-3))
    mean = axes_op(b, "ReduceMean", b.op("Mul", x, x), [x.rank - 1], 18, keepdims=1)
    root = b.op("Sqrt", b.op("Add", mean, b.const(1e-5, hint="eps")))
    return b.op("Mul", b.op("Mul", x, b.op("Reciprocal", root)), scale)


def group_norm(b: Builder) -> Value:
    x = images(b)
    size = x.shape[1]
    count = next((g for g in (2, 3, 4) if size % g == 0), 1)
    b.need(x.probes[0][0, 0].size > 3)
    if b.opset >= 18 and b.chance(0.6):
        width = size if b.opset >= 21 else count
        return b.op("GroupNormalization", x, b.vector(width, 0.5, 1.5), b.vector(width), num_groups=count)
    b.need(None not in x.dims[2:])
    y = b.op("Reshape", x, b.ints(0, count, -1))
    y = b.op("InstanceNormalization", y, b.vector(count, 1, 1), b.vector(count, 0, 0))
    y = b.op("Reshape", y, b.ints(0, *x.shape[1:]))
    scale = b.const(b.rng().uniform(0.5, 1.5, (size, *[1] * (x.rank - 2))), hint="scale")
    return b.op("Mul", y, scale)


def lrn(b: Builder) -> Value:
    x = b.floats(4)
    return b.op(
        "LRN", x, size=b.one_of(1, 3, 5), alpha=b.one_of(None, 0.1), beta=b.one_of(None, 0.5), bias=b.one_of(None, 2.0)
    )


def lp_norm(b: Builder) -> Value:
    x = b.floats(2, 3, 4)
    axis = b.one_of(None, -1, 1)
    b.need(x.shape[axis or -1] > 1)
    return b.op("LpNormalization", x, axis=axis, p=b.one_of(None, 1, 2))


def mean_variance(b: Builder) -> Value:
    b.since(9)
    return b.op("MeanVarianceNormalization", b.floats(4), axes=b.one_of(None, [2, 3], [1, 2, 3]))


def normalise_by_hand(b: Builder) -> Value:
    """x / (|x| + eps), x / max(norm, eps), and the like."""
    x = b.floats(2, 3, 4)
    eps = b.const(b.one_of(1e-12, 1e-8, 1e-5, 1e-3), hint="eps")
    way = b.one_of("l2", "sum", "self")
    if way == "l2":
        norm = (
            b.op("ReduceL2", x, axes=[x.rank - 1], keepdims=1)
            if b.opset < 18
            else b.op("ReduceL2", x, b.ints(x.rank - 1))
        )
        below = b.op("Max", norm, eps) if b.opset >= 8 and b.chance(0.5) else b.op("Add", norm, eps)
    elif way == "sum":
        x = b.op("Exp", x)
        below = b.op("Add", axes_op(b, "ReduceSum", x, [x.rank - 1], keepdims=1), eps)
    else:
        below = b.op("Add", b.op("Abs", x), b.const(b.one_of(0.1, 1.0), hint="eps"))
    return b.op("Div", x, below)


def softmax(b: Builder) -> Value:
    x = b.floats(2, 3, 4)
    kind = b.one_of("Softmax", "Softmax", "LogSoftmax", "Hardmax" if b.chance(0.4) else "Softmax")
    axis = b.one_of(None, -1 if b.opset >= 11 else None, 1, x.rank - 1)
    b.need(x.shape[-1 if axis is None else axis] > 1)
    return b.op(kind, x, axis=axis)


def loss(b: Builder) -> Any:
    b.since(12)
    x = b.floats(2)
    b.need(x.dims[1] is not None and x.shape[1] > 1)
    labels = b.op("ArgMax", x, axis=1, keepdims=0)
    if b.opset < 13 or b.chance(0.5):
        return b.op("SoftmaxCrossEntropyLoss", x, labels, reduction=b.one_of(None, "none", "sum"))
    return b.op(
        "NegativeLogLikelihoodLoss", b.op("LogSoftmax", x, axis=1), labels, reduction=b.one_of(None, "none", "sum")
    )


RECIPES = {
    "BatchNormalization": batch_norm,
    "BatchNormalization again": batch_norm,
    "BatchNormalization in training": training_batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LayerNormalization again": layer_norm,
    "RMSNormalization": rms_norm,
    "GroupNormalization": group_norm,
    "LRN": lrn,
    "LpNormalization": lp_norm,
    "MeanVarianceNormalization": mean_variance,
    "by hand": normalise_by_hand,
    "Softmax": softmax,
    "Softmax again": softmax,
    "loss": loss,
}
