"""Functions of one number, and of two by the rules of broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..builder import Builder
from ..values import Value

# Operator → the opset it came with.
SMOOTH = {
    "Relu": 7, "Sigmoid": 7, "Tanh": 7, "Softplus": 7, "Softsign": 7, "Elu": 7, "LeakyRelu": 7, "Selu": 7,
    "HardSigmoid": 7, "ThresholdedRelu": 10, "Abs": 7, "Neg": 7, "Exp": 7, "Sin": 7, "Cos": 7, "Atan": 7, "Sinh": 9,
    "Cosh": 9, "Asinh": 9, "Erf": 9, "Identity": 7, "Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "Shrink": 9,
}  # fmt: skip
STEPS = {"Floor": 7, "Ceil": 7, "Round": 11, "Sign": 9}
# On numbers from 0.2 to 0.8.
INSIDE = {"Log": 7, "Sqrt": 7, "Reciprocal": 7, "Tan": 7, "Asin": 7, "Acos": 7, "Atanh": 9}
ATTRIBUTES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Elu": {"alpha": (None, 0.5)},
    "LeakyRelu": {"alpha": (None, 0.1, 0.3, 1.5)},
    "Selu": {"alpha": (None, 1.5), "gamma": (None, 0.8)},
    "HardSigmoid": {"alpha": (None, 1 / 6, 0.5), "beta": (None, 0.3)},
    "ThresholdedRelu": {"alpha": (None, 0.3)},
    "Celu": {"alpha": (None, 0.7)},
    "Gelu": {"approximate": (None, "none", "tanh")},
    "Shrink": {"lambd": (None, 0.2), "bias": (None, 0.1)},
}


def smooth(b: Builder) -> Value:
    kind = b.one_of(*(kind for kind, since in SMOOTH.items() if since <= b.opset))
    drawn = {key: b.one_of(*values) for key, values in ATTRIBUTES.get(kind, {}).items()}
    return b.op(kind, b.floats(), **drawn)


def activation(b: Builder) -> Value:
    return b.op(b.one_of("Relu", "Relu", "Sigmoid", "Tanh", "LeakyRelu"), b.floats())


def step(b: Builder) -> Value:
    kind = b.one_of(*(kind for kind, since in STEPS.items() if since <= b.opset))
    return b.op(kind, b.floats())


def inside(b: Builder) -> Value:
    kind = b.one_of(*(kind for kind, since in INSIDE.items() if since <= b.opset))
    x = b.op("Sigmoid", b.floats())
    x = b.op("Add", b.op("Mul", x, b.const(0.6, hint="c")), b.const(0.2, hint="c"))
    return b.op(kind, x)


def clip(b: Builder) -> Value:
    x = b.floats()
    low, high = b.one_of((0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, None), (None, 0.5), (None, None), (0.5, -0.5))
    if b.opset < 11:
        return b.op("Clip", x, min=low, max=high)
    bounds = [None if bound is None else b.const(bound, hint="bound") for bound in (low, high)]
    return b.op("Clip", x, *bounds)


def prelu(b: Builder) -> Value:
    x = b.floats()
    shape: tuple[int, ...] = (1,)
    if x.rank > 1 and x.dims[1] is not None and b.chance(0.7):
        shape = (x.shape[1], *[1] * (x.rank - 2))
    return b.op("PRelu", x, b.const(b.rng().uniform(0, 0.5, shape), hint="slope"))


def dropout(b: Builder) -> Any:
    x = b.floats()
    mask = b.chance(0.25)
    if b.opset < 12:
        return b.ops("Dropout", x, ratio=b.one_of(None, 0.3), outputs=2 if mask and b.opset >= 10 else 1)
    ratio = b.const(b.one_of(0.1, 0.5), hint="ratio") if b.chance(0.7) else None
    training = b.const(False, np.bool_, "training") if ratio is not None and b.chance(0.3) else None
    return b.ops("Dropout", x, ratio, training, outputs=2 if mask else 1)


def operand(b: Builder, x: Value) -> Value:
    """Another activation of the same shape, or a constant that broadcasts."""
    same = [v for v in b.scope if v.is_float and v.dims == x.dims and v.shape == x.shape and not v.constant]
    if b.chance(0.5):
        return b.value_of(same)
    if b.chance(0.3):
        wider = [v for v in b.scope if v.is_float and not v.constant and _broadcasts(v, x)]
        if wider:
            return b.value_of(wider)
    shape: list[int] = []
    for size, dim in zip(x.shape[1:], x.dims[1:], strict=True):
        shape.append(1 if dim is None or b.chance(0.4) else size)
    shape = [1, *shape] if b.chance(0.15) and x.rank else shape
    while shape and b.chance(0.3):
        shape.pop(0)
    return b.const(b.rng().normal(0, 1, shape), hint="c")


def _broadcasts(one: Value, other: Value) -> bool:
    try:
        return all(
            np.broadcast_shapes(p.shape, q.shape) is not None for p, q in zip(one.probes, other.probes, strict=True)
        )
    except ValueError:
        return False


def binary(b: Builder) -> Value:
    x = b.floats()
    y = operand(b, x)
    pair = (x, y) if b.chance(0.75) else (y, x)
    return b.op(b.one_of("Add", "Add", "Mul", "Mul", "Sub"), *pair)


def divide(b: Builder) -> Value:
    x = b.floats()
    if b.chance(0.5):
        below = b.const(b.one_of(2.0, 0.5, 3.0, -4.0), hint="c")
    else:
        below = b.op("Add", b.op("Exp", operand(b, x)), b.const(b.one_of(1.0, 0.1, 1e-6), hint="c"))
    return b.op("Div", x, below)


def power(b: Builder) -> Value:
    x = b.floats()
    exponent = b.one_of(2.0, 3.0, 0.5, -1.0, 1.0)
    if exponent in (0.5, -1.0):
        x = b.op("Add", b.op("Abs", x), b.const(0.2, hint="c"))
    if b.opset >= 12 and b.chance(0.2):
        return b.op("Pow", x, b.const(int(exponent) or 1, np.int64, "e"))
    return b.op("Pow", x, b.const(exponent, hint="e"))


def variadic(b: Builder) -> Value:
    x = b.floats()
    kind = b.one_of("Max", "Min", "Sum", "Mean")
    return b.op(kind, x, *(operand(b, x) for _ in range(b.one_of(0, 1, 1, 2))))


def modulo(b: Builder) -> Value:
    b.since(10)
    return b.op("Mod", b.floats(), b.const(b.one_of(0.7, 2.0, -1.5), hint="c"), fmod=1)


def cast_chain(b: Builder) -> Value:
    """Down to another type and back."""
    x = b.floats()
    to = b.one_of(10, 11, 10, 6, 7) if b.chance(0.7) else b.one_of(1, 10)
    down = b.op("Cast", x, to=to, anything=True)
    if b.chance(0.4):
        b.scope.append(down)
    return b.op("Cast", down, to=1)


def of_integers(b: Builder) -> Value:
    """Integers made float, and arithmetic among integers before it."""
    x = b.integers((np.int64, np.int32, np.uint8))
    if x.dtype != np.uint8 and b.chance(0.5):
        kind = b.one_of("Add", "Mul", "Sub", "Div", "Mod" if b.opset >= 10 else "Add")
        x = b.op(kind, x, b.const(b.one_of(2, 3, 7), x.dtype, "c"))
    y = b.op("Cast", x, to=1)
    return b.op("Mul", y, b.const(1 / max(float(np.abs(y.probes[0]).max()), 1.0), hint="c"))


def cast_like(b: Builder) -> Value:
    b.since(15)
    like = b.pick(lambda v: v.dtype != np.bool_, constants=True)
    x = b.floats()
    return b.op("CastLike", b.op("CastLike", x, like, anything=True), x)


def bits(b: Builder) -> Value:
    b.since(11)
    x = b.op("Cast", b.integers(), to=12)
    if b.opset >= 18 and b.chance(0.6):
        kind = b.one_of("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
        y = b.op(kind, x, *([] if kind == "BitwiseNot" else [b.const(5, np.uint32, "c")]))
        b.need(kind != "BitwiseNot")
    else:
        y = b.op("BitShift", x, b.const(b.one_of(1, 2), np.uint32, "c"), direction=b.one_of("LEFT", "RIGHT"))
    return b.op("Mul", b.op("Cast", y, to=1), b.const(0.05, hint="c"))


def contrib(b: Builder) -> Value:
    x = b.floats()
    kind = b.one_of("Gelu", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul")
    if kind == "BiasGelu":
        b.need(x.rank and x.dims[-1] is not None)
        return b.op(kind, x, b.vector(x.shape[-1]), domain="com.microsoft")
    if kind == "FusedMatMul":
        b.need(x.rank >= 2 and x.dims[-1] is not None)
        return b.op(kind, x, b.weight(x.shape[-1], 5, fan_in=x.shape[-1]), domain="com.microsoft", alpha=0.5)
    return b.op(kind, x, domain="com.microsoft", alpha=1.702 if kind == "QuickGelu" else None)


RECIPES = {
    "smooth": smooth,
    "smooth again": smooth,
    "activation": activation,
    "step": step,
    "inside": inside,
    "Clip": clip,
    "PRelu": prelu,
    "Dropout": dropout,
    "binary": binary,
    "binary again": binary,
    "Div": divide,
    "Pow": power,
    "variadic": variadic,
    "Mod": modulo,
    "Cast": cast_chain,
    "integers": of_integers,
    "CastLike": cast_like,
    "bits": bits,
    "contrib": contrib,
}
