"""Layers that compute each number by itself."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.moments import Moments
from fewbits.frontends.caffe.step import Step


def same(step: Step) -> list[ir.Value]:
    """Split and Silence: every top is the bottom, and there may be none."""
    return [step.x] * len(step.layer.tops)


def dropout(step: Step) -> list[ir.Value]:
    """Nothing at deployment, unless training did not scale: then what remained is scaled now."""
    if step.params.truth("scale_train", True):
        return [step.x]
    ratio = step.number(1 - step.params.number("dropout_ratio", 0.5), "ratio")
    return [step.op("Mul", [step.x, ratio])]


def relu(step: Step) -> list[ir.Value]:
    """max(x, 0) + negative_slope min(x, 0)."""
    slope = step.params.number("negative_slope", 0.0)
    step.moments_out = step.moments[0].relu(slope)
    return [step.op("LeakyRelu", [step.x], {"alpha": slope}) if slope else step.op("Relu", [step.x])]


def relu6(step: Step) -> list[ir.Value]:
    """min(max(x, 0), 6)."""
    step.moments_out = step.moments[0].relu()
    return [step.op("Clip", [step.x, step.number(0, "min"), step.number(6, "max")])]


def clip(step: Step) -> list[ir.Value]:
    """min(max(x, min), max)."""
    params = step.params
    if not (params.has("min") and params.has("max")):
        raise step.error("min or max is missing", fix="give both")
    bounds = [step.number(params.number(name, 0.0), name) for name in ("min", "max")]
    return [step.op("Clip", [step.x, *bounds])]


def prelu(step: Step) -> list[ir.Value]:
    """max(x, 0) + a min(x, 0), one a for all channels or one each."""
    sizes, shared = step.sizes(step.x), step.params.truth("channel_shared", False)
    if len(sizes) < 2:
        raise step.error("it needs channels on axis 1")
    slope = step.blob(0, (1,) if shared else (sizes[1],), filler="filler", start=0.25)
    step.moments_out = step.moments[0].relu(float(np.mean(slope)))
    shape = (1,) if shared else (sizes[1], *[1] * (len(sizes) - 2))
    return [step.op("PRelu", [step.x, step.constant(slope.reshape(shape), "slope")])]


def elu(step: Step) -> list[ir.Value]:
    """X above 0, alpha (exp(x) - 1) below."""
    return [step.op("Elu", [step.x], {"alpha": step.params.number("alpha", 1.0)})]


def sigmoid(step: Step) -> list[ir.Value]:
    """1 / (1 + exp(-x))."""
    step.moments_out = Moments(0.5, 0.05)
    return [step.op("Sigmoid", [step.x])]


def tanh(step: Step) -> list[ir.Value]:
    """Hyperbolic tangent."""
    step.moments_out = Moments(0.0, min(0.5, step.moments[0].square))
    return [step.op("Tanh", [step.x])]


def swish(step: Step) -> list[ir.Value]:
    """X sigmoid(beta x)."""
    gate = step.op("Sigmoid", [_affine(step, step.params.number("beta", 1.0), 0.0)], part="gate")
    return [step.op("Mul", [step.x, gate])]


def absolute(step: Step) -> list[ir.Value]:
    """|x|."""
    return [step.op("Abs", [step.x])]


def softplus(step: Step) -> list[ir.Value]:
    """BNLL: log(1 + exp(x))."""
    return [step.op("Softplus", [step.x])]


def threshold(step: Step) -> list[ir.Value]:
    """1 above the threshold, else 0."""
    limit = step.number(step.params.number("threshold", 0.0), "threshold")
    return [step.op("Cast", [step.op("Greater", [step.x, limit], part="above")], {"to": ir.DataType.FLOAT.value})]


def power(step: Step) -> list[ir.Value]:
    """(shift + scale x) ^ power."""
    params = step.params
    exponent = params.number("power", 1.0)
    inner = _affine(step, params.number("scale", 1.0), params.number("shift", 0.0), last=exponent == 1)
    return [inner if exponent == 1 else step.op("Pow", [inner, step.number(exponent, "power")])]


def exponential(step: Step) -> list[ir.Value]:
    """Base ^ (shift + scale x), base e by default: exp(log(base) (shift + scale x))."""
    base, log_base = step.params.number("base", -1.0), 1.0
    if base != -1:
        if base <= 0:
            raise step.error(f"base {base:g} is not positive")
        log_base = math.log(base)
    scale, shift = step.params.number("scale", 1.0), step.params.number("shift", 0.0)
    return [step.op("Exp", [_affine(step, scale * log_base, shift * log_base)])]


def logarithm(step: Step) -> list[ir.Value]:
    """log(shift + scale x) to the base, e by default."""
    base = step.params.number("base", -1.0)
    if base != -1 and (base <= 0 or base == 1):
        raise step.error(f"there is no logarithm to the base {base:g}")
    inner = _affine(step, step.params.number("scale", 1.0), step.params.number("shift", 0.0))
    if base == -1:
        return [step.op("Log", [inner])]
    return [step.op("Mul", [step.op("Log", [inner], part="log"), step.number(1 / math.log(base), "per_log")])]


def _affine(step: Step, scale: float, shift: float, last: bool = False) -> ir.Value:
    """Scale x + shift without what does nothing; the last node of a layer bears the layer's name."""
    x = step.x
    step.moments_out = step.moments[0].affine(scale, shift)
    if scale != 1:
        x = step.op("Mul", [x, step.number(scale, "scale")], part="" if last and not shift else "scaled")
    if shift:
        x = step.op("Add", [x, step.number(shift, "shift")], part="" if last else "shifted")
    return x
