"""Layers that take each number by itself: activations, Power, Eltwise, ScaleShift, BatchNormalization."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site

Build = Callable[[Site], ir.Value]


def _unary(kind: str) -> Build:
    return lambda at: at.op(kind, at.x)


UNARY: dict[str, Build] = {
    "Sigmoid": _unary("Sigmoid"),
    "Logistic": _unary("Sigmoid"),
    "TanH": _unary("Tanh"),
    "Exp": _unary("Exp"),
    "Log": _unary("Log"),
    "Abs": _unary("Abs"),
    "Neg": _unary("Neg"),
    "Sqrt": _unary("Sqrt"),
    "Floor": _unary("Floor"),
    "Ceiling": _unary("Ceil"),
    "Erf": _unary("Erf"),
    "Softplus": _unary("Softplus"),
    "Softsign": _unary("Softsign"),
    "Copy": _unary("Identity"),
    "Dropout": _unary("Identity"),
}


def relu(at: Site) -> ir.Value:
    """max(0, x) + slope min(0, x)."""
    slope = at.real("negative_slope", 0.0)
    return at.op("LeakyRelu", at.x, alpha=slope) if slope else at.op("Relu", at.x)


def elu(at: Site) -> ir.Value:
    """Keep x where it is positive, and give alpha (exp(x) - 1) elsewhere."""
    return at.op("Elu", at.x, alpha=at.real("alpha", 1.0))


def clamp(at: Site) -> ir.Value:
    """min(max(x, low), high)."""
    low, high = at.real("min", 0.0), at.real("max", 6.0)
    if low > high:
        raise at.fail(f"min {low} is above max {high}")
    return at.op("Clip", at.x, at.numbers("min", low), at.numbers("max", high))


def prelu(at: Site) -> ir.Value:
    """max(0, x) + w min(0, x), one w for each channel, or one for all."""
    shared = at.flag("channel_shared") or len(at.shape) < 2
    slopes = at.required("weights", (1,) if shared else (at.shape[1],))
    return at.op("PRelu", at.x, at.const("weights", at.per_channel(slopes)))


_ACTIVATIONS: dict[str, Build] = {
    "sigmoid": UNARY["Sigmoid"],
    "tanh": UNARY["TanH"],
    "exp": UNARY["Exp"],
    "elu": elu,
    "relu": relu,
    "relu6": lambda at: at.op("Clip", at.x, at.numbers("min", 0.0), at.numbers("max", 6.0)),
}


def activation(at: Site) -> ir.Value:
    """What ``type`` names."""
    kind = at.text("type").lower()
    if kind not in _ACTIVATIONS:
        raise at.fail(f"activation '{kind[:40]}' is unknown to fewbits", f"it knows {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[kind](at)


def power(at: Site) -> ir.Value:
    """(shift + scale x) ** power."""
    scale, shift, exponent = at.real("scale", 1.0), at.real("shift", 0.0), at.real("power", 1.0)
    y = at.x
    if scale != 1.0:
        y = at.op("Mul", y, at.numbers("scale", scale))
    if shift != 0.0:
        y = at.op("Add", y, at.numbers("shift", shift))
    return y if exponent == 1.0 else at.op("Pow", y, at.numbers("power", exponent))


def _fold(kind: str) -> Build:
    def build(at: Site) -> ir.Value:
        at.need(2)
        return reduce(partial(at.op, kind), at.inputs)

    return build


def _sum(at: Site) -> ir.Value:
    """The inputs times their coefficients, 1 each where none are given."""
    at.need(2)
    factors = at.reals("coeff", []) or [1.0] * len(at.inputs)
    if len(factors) != len(at.inputs):
        raise at.fail(f"{len(factors)} coefficients for {len(at.inputs)} inputs")
    terms = [
        value if factor == 1.0 else at.op("Mul", value, at.numbers(f"coeff_{i}", factor))
        for i, (value, factor) in enumerate(zip(at.inputs, factors, strict=True))
    ]
    return reduce(partial(at.op, "Add"), terms)


def _squared_difference(at: Site) -> ir.Value:
    difference = _fold("Sub")(at)
    return at.op("Mul", difference, difference)


_ELTWISE: dict[str, Build] = {
    "sum": _sum,
    "": _sum,
    "sub": _fold("Sub"),
    "mul": _fold("Mul"),
    "prod": _fold("Mul"),
    "div": _fold("Div"),
    "max": _fold("Max"),
    "min": _fold("Min"),
    "pow": _fold("Pow"),
    "squared_diff": _squared_difference,
}


def eltwise(at: Site) -> ir.Value:
    """The inputs one with the other, number by number."""
    operation = at.text("operation", "sum").lower()
    if operation not in _ELTWISE:
        raise at.fail(f"operation '{operation[:40]}' is unknown to fewbits", f"it knows {', '.join(_ELTWISE)}")
    return _ELTWISE[operation](at)


def scale_shift(at: Site) -> ir.Value:
    """Compute w x + b, one w and b for each channel (or for all, where there is one)."""
    y = at.x
    for kind, op in (("weights", "Mul"), ("biases", "Add")):
        held = at.layer.blobs.get(kind)
        if held is None:
            continue
        found = at.stored.array(held, at.layer.precision, at.layer.name).astype(np.float32, copy=False)
        if found.size not in (1, at.shape[1] if len(at.shape) > 1 else 1):
            raise at.fail(f"{found.size} {kind} for an input of {list(at.shape)}")
        y = at.op(op, y, at.const(kind, at.per_channel(found)))
    return y


def batch_normalization(at: Site) -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon): the biases are the means, the weights the variances."""
    if len(at.shape) < 2:
        raise at.fail(f"an input of {list(at.shape)} has no channels")
    channels = at.shape[1]
    variance, mean = (at.required(kind, (channels,)) for kind in ("weights", "biases"))
    gain, shift = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    parameters = (("gain", gain), ("shift", shift), ("mean", mean), ("variance", variance))
    values = [at.const(kind, array) for kind, array in parameters]
    return at.op("BatchNormalization", at.x, *values, epsilon=at.real("epsilon"))
