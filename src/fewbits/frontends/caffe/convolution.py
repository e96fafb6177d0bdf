"""Convolution, its depthwise forms, Deconvolution and InnerProduct: weights have the layout ONNX wants already."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.caffemodel import Blob
from fewbits.frontends.caffe.fillers import fan_in
from fewbits.frontends.caffe.moments import Moments
from fewbits.frontends.caffe.step import Step
from fewbits.frontends.caffe.windows import per_axis


def convolution(step: Step) -> list[ir.Value]:
    """Weights [O, I/g, kh, kw]; several bottoms go through the same weights, each to its own top."""
    channels = _channels(step)
    return _convolve(step, channels, step.params.integer("group", 1, low=1))


def depthwise(step: Step) -> list[ir.Value]:
    """A convolution of one group a channel, whatever ``group`` says: the forks that have it differ in that field."""
    channels = _channels(step)
    return _convolve(step, channels, channels)


def deconvolution(step: Step) -> list[ir.Value]:
    """Weights [I, O/g, kh, kw]; out = stride (in - 1) + dilation (k - 1) + 1 - 2 pad on every axis."""
    channels = _channels(step)
    return _convolve(step, channels, step.params.integer("group", 1, low=1), transposed=True)


def _channels(step: Step) -> int:
    sizes = step.sizes(step.x)
    if len(sizes) < 3 or step.axis(1) != 1:
        raise step.error(f"it needs samples, channels and space, not {len(sizes)} axes from axis 1")
    return sizes[1]


def _convolve(step: Step, channels: int, group: int, transposed: bool = False) -> list[ir.Value]:
    params, space = step.params, step.sizes(step.x)[2:]
    outputs = params.integer("num_output", 0, low=1)
    if not outputs:
        raise step.error("num_output is missing", fix="add it")
    if channels % group or outputs % group:
        raise step.error(f"{group} groups do not divide {channels} channels into {outputs}", fix="correct group")
    kernel = per_axis(step, "kernel_size", "kernel", len(space), None, low=1)
    pads = per_axis(step, "pad", "pad", len(space), 0)
    strides = per_axis(step, "stride", "stride", len(space), 1, low=1)
    dilations = per_axis(step, "dilation", "dilation", len(space), 1, low=1)
    for size, k, pad, stride, dilation in zip(space, kernel, pads, strides, dilations, strict=True):
        extent = dilation * (k - 1) + 1
        if (size - 1) * stride + extent - 2 * pad < 1 if transposed else size + 2 * pad < extent:
            raise step.error(f"a kernel that reaches over {extent} does not fit {size} with {pad} of padding")
    first, second = (channels, outputs // group) if transposed else (outputs, channels // group)
    weights = step.blob(0, (first, second, *kernel), filler="weight_filler")
    held: list[ir.Value | None] = [step.constant(weights, "weight")]
    if params.truth("bias_term", True):
        held.append(step.constant(step.blob(1, (outputs,), filler="bias_filler", start=0.0), "bias"))
    read = channels // group * math.prod(kernel) / math.prod(strides) if transposed else fan_in(weights.shape)
    _spread(step, weights, read)
    attributes = {
        "kernel_shape": kernel,
        "pads": [*pads, *pads],
        "strides": strides,
        "dilations": dilations,
        "group": group,
    }
    op_type = "ConvTranspose" if transposed else "Conv"
    for value in step.inputs:
        if step.sizes(value)[1] != channels:
            raise step.error("its bottoms differ in channels")
    return [step.op(op_type, [value, *held], attributes) for value in step.inputs]


def inner_product(step: Step) -> list[ir.Value]:
    """[..., K...] → [..., O]: what stands from ``axis`` on is flattened; weights [O, K], with ``transpose`` [K, O]."""
    params, axis = step.params, step.axis(1)
    outputs, turned = params.integer("num_output", 0, low=1), params.truth("transpose", False)
    if not outputs:
        raise step.error("num_output is missing", fix="add it")
    if axis == 0:
        step.mixes_samples("multiplies across the batch")
    before, features = step.sizes(step.x)[:axis], math.prod(step.sizes(step.x)[axis:])
    weights = step.blob(0, (features, outputs) if turned else (outputs, features), filler="weight_filler")
    held: list[ir.Value | None] = [step.constant(weights, "weight")]
    if params.truth("bias_term", True):
        held.append(step.constant(step.blob(1, (outputs,), filler="bias_filler", start=0.0), "bias"))
    _spread(step, weights, features)
    x = step.x
    if axis == 1 and len(step.sizes(x)) != 2:
        x = step.op("Flatten", [x], {"axis": 1}, "flatten")
    elif axis != 1:
        x = step.reshape(x, (math.prod(before), features), "rows")
    made = step.op("Gemm", [x, *held], {"transB": 0 if turned else 1})
    return [made if axis == 1 else step.reshape(made, (*before, outputs), "unfold")]


def _spread(step: Step, weights: Blob, read: float) -> None:
    """The outputs' mean square: independent products add up."""
    if step.weights.random:
        step.moments_out = Moments(0.0, step.moments[0].square * read * float(np.mean(np.square(weights))))
