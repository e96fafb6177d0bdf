"""Layers that divide by what they see around: Norm, Normalize, GRN, MVN, SoftMax."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site


def norm(at: Site) -> ir.Value:
    """Compute x / (k + alpha / n * sum of x**2) ** beta over n neighbours: channels, or s * s positions in space."""
    size = at.whole("local-size", at.whole("local_size", 0))
    alpha, beta, k = at.real("alpha"), at.real("beta"), at.real("k", 1.0)
    if size < 1 or size % 2 == 0 or len(at.shape) < 3:
        raise at.fail(f"a region of {size} around a number of {list(at.shape)} has no centre")
    if at.text("region", "across").lower() != "same":
        return at.op("LRN", at.x, size=size, alpha=alpha, beta=beta, bias=k)
    rank = len(at.shape) - 2
    squares = at.op("Mul", at.x, at.x)
    window = {"kernel_shape": [size] * rank, "pads": [size // 2] * (2 * rank), "strides": [1] * rank}
    mean = at.op("AveragePool", squares, count_include_pad=1, **window)
    base = at.op("Add", at.op("Mul", mean, at.numbers("alpha", alpha)), at.numbers("k", k))
    return at.op("Div", at.x, at.op("Pow", base, at.numbers("beta", beta)))


def normalize(at: Site) -> ir.Value:
    """Compute w x / sqrt(sum of x**2 + eps), the sum over the channels of one position, or over all of an image."""
    axes = list(range(1, len(at.shape))) if at.flag("across_spatial") else [1]
    weights = at.required("weights", (1,) if at.flag("channel_shared") else (at.shape[1],))
    y = at.op("Div", at.x, _root(at, axes, at.real("eps")))
    return at.op("Mul", y, at.const("weights", at.per_channel(weights)))


def grn(at: Site) -> ir.Value:
    """Compute x / sqrt(bias + sum of x**2 over the channels)."""
    return at.op("Div", at.x, _root(at, [1], at.real("bias", 0.0)))


def _root(at: Site, axes: list[int], added: float) -> ir.Value:
    total = at.op("ReduceSum", at.op("Mul", at.x, at.x), at.indices("axes", axes), keepdims=1)
    return at.op("Sqrt", at.op("Add", total, at.numbers("eps", added)))


def mvn(at: Site) -> ir.Value:
    """Compute x - mean, and where asked for that divided by (standard deviation + eps)."""
    axes = list(range(1 if at.flag("across_channels") else 2, len(at.shape)))
    centred = at.op("Sub", at.x, at.op("ReduceMean", at.x, axes=axes, keepdims=1))
    if not at.flag("normalize_variance", True):
        return centred
    variance = at.op("ReduceMean", at.op("Mul", centred, centred), axes=axes, keepdims=1)
    return at.op("Div", centred, at.op("Add", at.op("Sqrt", variance), at.numbers("eps", at.real("eps", 1e-9))))


def softmax(at: Site) -> ir.Value:
    """exp(x) / sum of exp(x) along an axis."""
    return at.op("Softmax", at.x, axis=at.axis(default=1))
