"""BatchNorm with its Scale, Scale and Bias alone, LRN, Normalize, MVN."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.caffemodel import Blob
from fewbits.frontends.caffe.moments import Moments
from fewbits.frontends.caffe.net import Layer
from fewbits.frontends.caffe.step import Step

_REGIONS = ("ACROSS_CHANNELS", "WITHIN_CHANNEL")


def batch_norm(step: Step) -> list[ir.Value]:
    """(x - mean / f) / sqrt(variance / f + eps), f the third blob (0 counts as "no statistics yet": both are 0).

    A Scale layer that alone reads the result becomes gamma and beta of the same node.
    """
    sizes, eps = step.sizes(step.x), step.params.number("eps", 1e-5)
    if len(sizes) < 2:
        raise step.error("it needs channels on axis 1")
    channels = sizes[1]
    gamma, beta = (np.ones(channels, np.float32), np.zeros(channels, np.float32))
    if step.scale is not None:
        gamma, beta = scale_and_bias(step, step.scale, (channels,))
    held = [step.constant(gamma, "gamma"), step.constant(beta, "beta")]
    step.moments_out = Moments(float(np.mean(beta)), float(np.mean(np.square(gamma))))
    if not step.params.truth("use_global_stats", True):
        step.mixes_samples("normalizes by the statistics of its batch (use_global_stats: false)")
        if sizes[0] != 1 or len(sizes) < 3:
            raise step.error(
                "it normalizes by the statistics of a batch", fix="train it on and use use_global_stats: true"
            )
        return [step.op("InstanceNormalization", [step.x, *held], {"epsilon": eps})]
    factor = float(step.blob(2, (1,), start=1.0)[0])
    inverse = 1 / factor if factor else 0.0
    mean = step.blob(0, (channels,), start=0.0) * np.float32(inverse)
    variance = step.blob(1, (channels,), start=step.moments[0].square) * np.float32(inverse)
    statistics = [step.constant(mean, "mean"), step.constant(variance, "variance")]
    return [step.op("BatchNormalization", [step.x, *held, *statistics], {"epsilon": eps})]


def absorbs(norm: Layer, scale: Layer) -> bool:
    """Whether a Scale layer is one factor (and shift) a channel, so that it can be part of the BatchNorm before it."""
    params = scale.fields.child("scale_param")
    return (
        norm.type == "BatchNorm"
        and scale.type == "Scale"
        and len(scale.bottoms) == 1
        and params.integer("axis", 1, low=-8) == 1
        and params.integer("num_axes", 1, low=-1) == 1
    )


def scale_and_bias(step: Step, layer: Layer, shape: tuple[int, ...]) -> tuple[Blob, Blob]:
    """The blobs of a Scale layer; without a bias term the second is zeros."""
    params = layer.fields.child("scale_param")
    gamma = step.blob(0, shape, filler="filler", start=1.0, of=layer, params=params)
    if not params.truth("bias_term", False):
        return gamma, np.zeros(shape, np.float32)
    return gamma, step.blob(1, shape, filler="bias_filler", start=0.0, of=layer, params=params)


def scale(step: Step) -> list[ir.Value]:
    """X * gamma + beta, along ``num_axes`` axes from ``axis`` on; gamma may come as the second bottom."""
    if step.absorbed:
        return [step.x]
    bias = step.params.truth("bias_term", False)
    place, shape = _place(step)
    if len(step.inputs) == 2:
        made = step.op("Mul", [step.x, _spread(step, step.inputs[1], place)], part="product" if bias else "")
        if not bias:
            return [made]
        beta = step.blob(0, shape, filler="bias_filler", start=0.0)
    else:
        gamma, beta = scale_and_bias(step, step.layer, shape)
        step.moments_out = step.moments[0].affine(float(np.mean(gamma)), float(np.mean(beta)))
        made = step.op("Mul", [step.x, step.constant(gamma.reshape(place), "gamma")], part="product" if bias else "")
        if not bias:
            return [made]
    return [step.op("Add", [made, step.constant(beta.reshape(place), "beta")])]


def bias(step: Step) -> list[ir.Value]:
    """X + beta, placed like ``scale``; beta may come as the second bottom."""
    place, shape = _place(step)
    if len(step.inputs) == 2:
        return [step.op("Add", [step.x, _spread(step, step.inputs[1], place)])]
    beta = step.blob(0, shape, filler="filler", start=0.0).reshape(place)
    return [step.op("Add", [step.x, step.constant(beta, "beta")])]


def _place(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape padded with ones behind, so that it lies on its axes; shape of the blob)."""
    sizes, axis = step.sizes(step.x), step.axis(1)
    if len(step.inputs) == 2:
        shape = step.sizes(step.inputs[1])
        if sizes[axis : axis + len(shape)] != shape:
            raise step.error(f"a second bottom of shape {list(shape)} does not lie on {list(sizes)} from axis {axis}")
    else:
        count = step.params.integer("num_axes", 1, low=-1)
        end = len(sizes) if count == -1 else axis + count
        if end > len(sizes):
            raise step.error(f"{count} axes from axis {axis} on a blob of {len(sizes)} dimensions")
        shape = sizes[axis:end]
        if axis == 0 and shape:
            step.mixes_samples("scales or shifts each sample by its place in the batch")
    return (*shape, *[1] * (len(sizes) - axis - len(shape))), shape


def _spread(step: Step, value: ir.Value, place: tuple[int, ...]) -> ir.Value:
    return step.reshape(value, place, "spread")


def lrn(step: Step) -> list[ir.Value]:
    """X / (k + alpha / n * sum of squares over n channels) ^ beta, or over n x n places with k = 1."""
    params = step.params
    size, alpha, beta = params.integer("local_size", 5, low=1), params.number("alpha", 1.0), params.number("beta", 0.75)
    if size % 2 == 0:
        raise step.error(f"local_size {size} is even", fix="use an odd one")
    if params.choice("norm_region", _REGIONS, "ACROSS_CHANNELS") == "ACROSS_CHANNELS":
        attributes = {"size": size, "alpha": alpha, "beta": beta, "bias": params.number("k", 1.0)}
        return [step.op("LRN", [step.x], attributes)]
    squares = step.op("Mul", [step.x, step.x], part="squares")
    pool = {"kernel_shape": [size, size], "pads": [size // 2] * 4, "count_include_pad": 1}
    mean = step.op("AveragePool", [squares], pool, "mean")
    scaled = step.op("Mul", [mean, step.number(alpha, "alpha")], part="scaled")
    shifted = step.op("Add", [scaled, step.number(1.0, "one")], part="shifted")
    return [step.op("Div", [step.x, step.op("Pow", [shifted, step.number(beta, "beta")], part="power")])]


def normalize(step: Step) -> list[ir.Value]:
    """X / sqrt(sum of squares + eps) * scale, the sum over channels or over the whole sample (SSD's layer)."""
    params, sizes = step.params, step.sizes(step.x)
    if len(sizes) != 4:
        raise step.error(f"it needs four axes, not {len(sizes)}")
    everywhere, shared = params.truth("across_spatial", True), params.truth("channel_shared", True)
    factor = step.blob(0, (1,) if shared else (sizes[1],), filler="scale_filler", start=1.0)
    axes = [1, 2, 3] if everywhere else [1]
    step.moments_out = Moments(0.0, float(np.mean(np.square(factor))) / math.prod(sizes[axis] for axis in axes))
    total = step.op("ReduceSumSquare", [step.x], {"axes": axes, "keepdims": 1}, "squares")
    total = step.op("Add", [total, step.number(params.number("eps", 1e-10), "eps")], part="not_zero")
    unit = step.op("Div", [step.x, step.op("Sqrt", [total], part="norm")], part="unit")
    return [step.op("Mul", [unit, step.constant(factor.reshape(1, -1, 1, 1), "scale")])]


def mvn(step: Step) -> list[ir.Value]:
    """(x - mean) / (deviation + eps) over space, or over channels too."""
    params, sizes = step.params, step.sizes(step.x)
    axes = list(range(1 if params.truth("across_channels", False) else 2, len(sizes)))
    mean = step.op("ReduceMean", [step.x], {"axes": axes, "keepdims": 1}, "mean")
    varies = params.truth("normalize_variance", True)
    centered = step.op("Sub", [step.x, mean], part="centered" if varies else "")
    if not varies:
        return [centered]
    squares = step.op("Mul", [centered, centered], part="squares")
    variance = step.op("ReduceMean", [squares], {"axes": axes, "keepdims": 1}, "variance")
    deviation = step.op("Sqrt", [variance], part="deviation")
    step.moments_out = Moments()
    return [
        step.op(
            "Div",
            [centered, step.op("Add", [deviation, step.number(params.number("eps", 1e-9), "eps")], part="not_zero")],
        )
    ]
