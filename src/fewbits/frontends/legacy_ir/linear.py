"""Layers with weights: Convolution, Deconvolution, FullyConnected; and Gemm, which multiplies two inputs."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.legacy_ir.site import Site
from fewbits.frontends.legacy_ir.window import window


def convolution(at: Site) -> ir.Value:
    """Weights [O, I/g, kh, kw], the groups one after the other: as in ONNX."""
    found, group, output = window(at), _group(at), at.whole("output")
    weights = _weights(at, (output, at.shape[1] // group, *found.kernel))
    return at.op(
        "Conv",
        *_with_bias(at, weights, output),
        kernel_shape=found.kernel,
        strides=found.strides,
        dilations=found.dilations,
        pads=found.pads,
        group=group,
    )


def deconvolution(at: Site) -> ir.Value:
    """Weights [I, O/g, kh, kw], as Caffe stores them and as in ONNX.

    size = stride (size - 1) + extent - pads; what the declared size is larger by is output padding.
    """
    found, group, output = window(at, transposed=True), _group(at), at.whole("output")
    weights = _weights(at, (at.shape[1], output // group, *found.kernel))
    parts = zip(at.shape[2:], at.out[2:], found.strides, found.extents, found.begins, found.ends, strict=True)
    missing = [out - (s * (size - 1) + extent - a - b) for size, out, s, extent, a, b in parts]
    if any(not 0 <= more < max(s, 2) for more, s in zip(missing, found.strides, strict=True)):
        raise at.fail(f"it declares an output of {list(at.out)}, which its kernel, strides and pads do not give")
    return at.op(
        "ConvTranspose",
        *_with_bias(at, weights, output),
        kernel_shape=found.kernel,
        strides=found.strides,
        dilations=found.dilations,
        pads=found.pads,
        group=group,
        **({"output_padding": missing} if any(missing) else {}),
    )


def fully_connected(at: Site) -> ir.Value:
    """Compute y = x Wᵀ + b with W [O, I]; an input [N, C, H, W] is taken as [N, C H W]."""
    output = at.whole("out-size")
    taken = math.prod(at.shape[1:])
    weights = _weights(at, (output, taken))
    x, *rest = _with_bias(at, weights, output)
    flat = at.op("Flatten", x, axis=1) if len(at.shape) != 2 else x
    return at.op("Gemm", flat, *rest, transB=1)


def gemm(at: Site) -> ir.Value:
    """Compute alpha op(A) op(B) + beta C over the last two axes."""
    at.need(2)
    a, b = (
        _turned(at, value, len(shape)) if at.flag(key) else value
        for key, value, shape in zip(("transpose_a", "transpose_b"), at.inputs, at.shapes, strict=False)
    )
    y = at.op("MatMul", a, b)
    if (alpha := at.real("alpha", 1.0)) != 1.0:
        y = at.op("Mul", y, at.numbers("alpha", alpha))
    if len(at.inputs) > 2:
        beta = at.real("beta", 1.0)
        added = at.inputs[2] if beta == 1.0 else at.op("Mul", at.inputs[2], at.numbers("beta", beta))
        y = at.op("Add", y, added)
    return y


def _turned(at: Site, value: ir.Value, rank: int) -> ir.Value:
    return at.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _group(at: Site) -> int:
    group = at.whole("group", 1)
    output, channels = at.whole("output"), at.shape[1] if len(at.shape) > 2 else 0
    if min(group, output, channels) < 1 or channels % group or output % group:
        raise at.fail(f"{group} groups do not divide {channels} channels into {output}")
    return group


def _weights(at: Site, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """From the layer's blobs, or from a Const layer on its second input, as version 7 may have it."""
    if "weights" in at.layer.blobs or len(at.inputs) < 2:
        return at.required("weights", shape)
    return _fed(at, 1, shape)


def _with_bias(at: Site, weights: NDArray[np.float32], output: int) -> tuple[ir.Value, ...]:
    """Input, weights, and the bias where there is one."""
    bias = at.blob("biases", (output,)) if len(at.inputs) < 3 else _fed(at, 2, (output,))
    values = (at.x, at.const("weights", weights))
    return values if bias is None else (*values, at.const("biases", bias))


def _fed(at: Site, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    found = at.constant(index)
    if found.size != math.prod(shape):
        raise at.fail(f"its input {index} holds {found.size} numbers, not {math.prod(shape)}")
    return found.reshape(shape).astype(np.float32, copy=False)
