"""Activation functions; where opset 17 has no operator for one, its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.operators.elementwise import unary
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _clamp(op: Operation, w: Writer) -> ir.Value:
    low, high = float(op.attributes["min"]), float(op.attributes["max"])
    if not op.is_float():
        low, high = math.ceil(low), math.floor(high)
    return w.op("Clip", op.input(0), w.like(low, op, "min"), w.like(high, op, "max"))


def _prelu(op: Operation, w: Writer) -> ir.Value:
    slope, rank = op.known(1), op.rank()
    count = len(op.dims(1) or ())
    if slope is None or isinstance(slope, np.ndarray) is False:
        op.refuse_unless(count == rank, "a slope that is no constant must have the input's rank")
        return w.op("PRelu", op.input(0), op.input(1))
    numbers = op.constant(1)
    if numbers.size == 1:
        return w.op("LeakyRelu", op.input(0), alpha=float(numbers.ravel()[0]))
    if numbers.ndim == 1 and rank > 1 and numbers.size == (op.dims(0) or ())[1]:
        return w.op("PRelu", op.input(0), w.constant(numbers.reshape(-1, *(1,) * (rank - 2)), role="slope"))
    return w.op("PRelu", op.input(0), op.input(1))


def _selu(op: Operation, w: Writer) -> ir.Value:
    alpha, gamma = (float(op.constant(index).ravel()[0]) for index in (1, 2))
    return w.op("Selu", op.input(0), alpha=alpha, gamma=gamma)


def _hard_sigmoid(op: Operation, w: Writer) -> ir.Value:
    alpha, beta = (float(op.constant(index).ravel()[0]) for index in (1, 2))
    return w.op("HardSigmoid", op.input(0), alpha=alpha, beta=beta)


def _swish(op: Operation, w: Writer) -> ir.Value:
    """X * sigmoid(beta x)."""
    x = op.input(0)
    plain = not op.has(1) or (op.known(1) is not None and (op.constant(1) == 1).all())
    return w.op("Mul", x, w.op("Sigmoid", x if plain else w.op("Mul", x, op.input(1))))


def _mish(op: Operation, w: Writer) -> ir.Value:
    """X * tanh(ln(1 + exp x))."""
    return w.op("Mul", op.input(0), w.op("Tanh", w.op("Softplus", op.input(0))))


def _gelu(op: Operation, w: Writer) -> ir.Value:
    """x/2 (1 + erf(x / sqrt 2)), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    x = op.input(0)
    if str(op.attributes.get("approximation_mode", "ERF")).upper() == "ERF":
        inner = w.op("Erf", w.op("Div", x, w.like(math.sqrt(2), op)))
    else:
        cube = w.op("Mul", w.op("Mul", x, x), x)
        bent = w.op("Add", x, w.op("Mul", cube, w.like(0.044715, op)))
        inner = w.op("Tanh", w.op("Mul", bent, w.like(math.sqrt(2 / math.pi), op)))
    return w.op("Mul", w.op("Mul", x, w.op("Add", inner, w.like(1, op))), w.like(0.5, op))


TABLE: Final[dict[str, Emit]] = {
    "Clamp": _clamp,
    "Elu": lambda op, w: w.op("Elu", op.input(0), alpha=float(op.attributes["alpha"])),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HSigmoid": lambda op, w: w.op("HardSigmoid", op.input(0), alpha=1 / 6, beta=0.5),
    "HSwish": unary("HardSwish"),
    "LogSoftmax": lambda op, w: w.op("LogSoftmax", op.input(0), axis=int(op.attributes["axis"])),
    "Mish": _mish,
    "PRelu": _prelu,
    "Relu": unary("Relu"),
    "Selu": _selu,
    "Sigmoid": unary("Sigmoid"),
    "Softmax": lambda op, w: w.op("Softmax", op.input(0), axis=int(op.attributes["axis"])),
    "SoftPlus": unary("Softplus"),
    "SoftSign": unary("Softsign"),
    "Swish": _swish,
    "Tanh": unary("Tanh"),
}
