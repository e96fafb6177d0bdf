"""Arithmetic, comparison, logic: one ONNX operator each, or a short composition; NumPy broadcasting on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def unary(op_type: str) -> Emit:
    """The same operator under ONNX's name."""
    return lambda op, w: w.op(op_type, op.input(0))


def binary(op_type: str) -> Emit:
    """The same operator of two inputs under ONNX's name."""

    def emit(op: Operation, w: Writer) -> ir.Value:
        _check_broadcast(op)
        return w.op(op_type, op.input(0), op.input(1))

    return emit


def _check_broadcast(op: Operation) -> None:
    kind = op.attributes.get("auto_broadcast", "numpy")
    same = op.dims(0) == op.dims(1)
    op.refuse_unless(same or kind == "numpy", f"{kind} broadcasting has no counterpart in ONNX")


def _divide(op: Operation, w: Writer) -> ir.Value:
    _check_broadcast(op)
    if op.is_float() or op.element().startswith("u") or not op.attributes.get("m_pythondiv", True):
        return w.op("Div", op.input(0), op.input(1))
    # Towards minus infinity for integers; ONNX's goes towards zero. (a - a mod b) divides without rest.
    a, b = op.input(0), op.input(1)
    return w.op("Div", w.op("Sub", a, w.op("Mod", a, b)), b)


def _floor_mod(op: Operation, w: Writer) -> ir.Value:
    a, b = op.input(0), op.input(1)
    if not op.is_float():
        return w.op("Mod", a, b)
    return w.op("Sub", a, w.op("Mul", b, w.op("Floor", w.op("Div", a, b))))


def _squared_difference(op: Operation, w: Writer) -> ir.Value:
    _check_broadcast(op)
    difference = w.op("Sub", op.input(0), op.input(1))
    return w.op("Mul", difference, difference)


def _not_equal(op: Operation, w: Writer) -> ir.Value:
    _check_broadcast(op)
    return w.op("Not", w.op("Equal", op.input(0), op.input(1)))


def _is_finite(op: Operation, w: Writer) -> ir.Value:
    return w.op("Not", w.op("Or", w.op("IsNaN", op.input(0)), w.op("IsInf", op.input(0))))


def _is_inf(op: Operation, w: Writer) -> ir.Value:
    sides = {side: int(op.attributes.get(side, True)) for side in ("detect_negative", "detect_positive")}
    return w.op("IsInf", op.input(0), **sides)


def _round(op: Operation, w: Writer) -> ir.Value:
    if op.attributes.get("mode", "half_to_even") == "half_to_even":
        return w.op("Round", op.input(0))
    away = w.op("Floor", w.op("Add", w.op("Abs", op.input(0)), w.like(0.5, op)))
    return w.op("Mul", w.op("Sign", op.input(0)), away)


def _power(op: Operation, w: Writer) -> ir.Value:
    _check_broadcast(op)
    exponent = op.known(1)
    if exponent is not None and op.constant(1).size == 1 and op.is_float():
        number = float(op.constant(1).ravel()[0])
        if number == 0.5 and op.constant(1).ndim <= len(op.dims(0) or ()):
            return w.op("Sqrt", op.input(0))
    return w.op("Pow", op.input(0), op.input(1))


def _select(op: Operation, w: Writer) -> ir.Value:
    kind = op.attributes.get("auto_broadcast", "numpy")
    same = op.dims(0) == op.dims(1) == op.dims(2)
    op.refuse_unless(same or kind == "numpy", f"{kind} broadcasting has no counterpart in ONNX")
    return w.op("Where", op.input(0), op.input(1), op.input(2))


_UNARY: Final = {
    "Abs": "Abs",
    "Acos": "Acos",
    "Acosh": "Acosh",
    "Asin": "Asin",
    "Asinh": "Asinh",
    "Atan": "Atan",
    "Atanh": "Atanh",
    "BitwiseNot": "BitwiseNot",
    "Ceiling": "Ceil",
    "Cos": "Cos",
    "Cosh": "Cosh",
    "Erf": "Erf",
    "Exp": "Exp",
    "Floor": "Floor",
    "IsNaN": "IsNaN",
    "Log": "Log",
    "LogicalNot": "Not",
    "Negative": "Neg",
    "Sign": "Sign",
    "Sin": "Sin",
    "Sinh": "Sinh",
    "Sqrt": "Sqrt",
    "Tan": "Tan",
}
_BINARY: Final = {
    "Add": "Add",
    "BitwiseAnd": "BitwiseAnd",
    "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor",
    "Equal": "Equal",
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less",
    "LessEqual": "LessOrEqual",
    "LogicalAnd": "And",
    "LogicalOr": "Or",
    "LogicalXor": "Xor",
    "Maximum": "Max",
    "Minimum": "Min",
    "Multiply": "Mul",
    "Subtract": "Sub",
}
TABLE: Final[dict[str, Emit]] = {
    **{name: unary(onnx) for name, onnx in _UNARY.items()},
    **{name: binary(onnx) for name, onnx in _BINARY.items()},
    "Divide": _divide,
    "FloorMod": _floor_mod,
    "IsFinite": _is_finite,
    "IsInf": _is_inf,
    "Mod": lambda op, w: w.op("Mod", op.input(0), op.input(1), fmod=1),
    "NotEqual": _not_equal,
    "Power": _power,
    "Round": _round,
    "Select": _select,
    "SquaredDifference": _squared_difference,
}
