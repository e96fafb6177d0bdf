"""What simplification takes out or merges changes no bit, whatever is fed: minus zero, infinity, NaN, large numbers.

The truth is ONNX Runtime on the untouched graph, its own rewrites switched off.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from exact import EDGES, F32, exact

from models import Array

F64 = np.concatenate([EDGES.astype(np.float64)[:-2], [1 + 2.0**-30, 16777217.0]]).reshape(4, 5)
WHOLE = np.array([0, 1, -1, 7, 300, -40000, 2**31 - 1, 16777217, 5, -8], np.int64).reshape(2, 5)


def f64(number: float) -> Array:
    return np.array(number, np.float64)


@pytest.mark.parametrize(
    ("op", "number", "goes"),
    [
        ("Add", -0.0, True), ("Sub", 0.0, True), ("Mul", 1, True), ("Div", 1, True),
        ("Add", 0.0, False), ("Sub", -0.0, False), ("Mul", -1, False), ("Mul", 0, False),
        *(("Add", e, False) for e in (1e-12, 1e-9, 1e-8, 1e-45, 5e-9, np.nan)), ("Sub", 1e-12, False),
        *(("Mul", s, False) for s in (1.000005, 0.9999999, 1 + 2e-7)), ("Div", 1.000005, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 5), (4, 1)])
def test_only_what_is_neutral_for_every_number_goes(op: str, number: float, goes: bool, shape: tuple[int, ...]) -> None:
    text = f"g (float[4,5] x) => (float[4,5] y) {{ h = {op}(x, k)  y = Reciprocal(h) }}"
    left = exact(text, {"x": F32}, k=np.full(shape, number, np.float32))
    assert left == (["Reciprocal"] if goes else [op, "Reciprocal"])


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 1, 1), (3, 5)])
def test_neutral_numbers_that_change_the_shape_stay(op: str, shape: tuple[int, ...]) -> None:
    neutral = {"Add": -0.0, "Sub": 0.0}.get(op, 1.0)
    x = F32[:1] if shape == (3, 5) else F32
    text = f"g (float[{len(x)},5] x) => (float[A] y) {{ h = {op}(x, k)  y = Relu(h) }}".replace(
        "[A]", "[" + ",".join("ABC"[: max(2, len(shape))]) + "]"
    )
    assert exact(text, {"x": x}, k=np.full(shape, neutral, np.float32))[0] == op


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_neutral_numbers_of_other_types(op: str) -> None:
    number = 1 if op in ("Mul", "Div") else 0
    for kind, x in (("int64", WHOLE), ("double", F64)):
        shape = ",".join(map(str, x.shape))
        text = f"g ({kind}[{shape}] x) => ({kind}[{shape}] y) {{ h = {op}(x, k)  y = Sign(h) }}"
        left = exact(text, {"x": x}, k=np.asarray(number, x.dtype))
        assert left == ([op, "Sign"] if (kind, op) == ("double", "Add") else ["Sign"])
    assert (
        exact("g (double[4,5] x) => (double[4,5] y) { h = Mul(x, k)  y = Neg(h) }", {"x": F64}, k=f64(1 + 1e-15))[0]
        == "Mul"
    )


def test_a_constant_minus_and_over_the_input_stays() -> None:
    for op, k in (("Sub", 0.0), ("Div", 1.0)):
        text = f"g (float[4,5] x) => (float[4,5] y) {{ h = {op}(k, x)  y = Relu(h) }}"
        assert exact(text, {"x": F32}, k=np.float32(k)) == [op, "Relu"]


BOUNDS = {"a": -1, "b": 6, "c": 0, "d": 3, "m": -6.5, "i": np.inf, "z": 1e30}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("h = Clip(x, a, b)  y = Clip(h, c, d)", ["Clip"]),
        ("h = Clip(x, c, d)  y = Clip(h, a, b)", ["Clip"]),
        ("h = Clip(x, c, d)  y = Clip(h, m, a)", ["Clip", "Clip"]),
        ("h = Clip(x, b, z)  y = Clip(h, c, d)", ["Clip", "Clip"]),
        ("h = Clip(x, a)  y = Clip(h, , d)", ["Clip"]),
        ("h = Clip(x, , d)  y = Clip(h, a)", ["Clip"]),
        ("h = Clip(x, d, c)  y = Clip(h, a, b)", ["Clip", "Clip"]),
        ("h = Clip(x, a, b)  y = Clip(h, d, c)", ["Clip", "Clip"]),
        ("h = Relu(x)  y = Clip(h, a, b)", ["Clip"]),
        ("h = Relu(x)  y = Clip(h, m, a)", ["Relu", "Clip"]),
        ("h = Relu(x)  y = Clip(h, d, c)", ["Relu", "Clip"]),
        ("h = Relu(x)  y = Clip(h, d)", ["Clip"]),
        ("h = Clip(x, m, a)  y = Relu(h)", ["Clip", "Relu"]),
        ("h = Clip(x, m, d)  y = Relu(h)", ["Clip"]),
        ("h = Clip(x, d)  y = Relu(h)", ["Clip"]),
        ("h = Clip(x)  y = Relu(h)", ["Clip"]),
        ("h = Clip(x, a, i)  y = Relu(h)", ["Clip"]),
        ("h = Relu(x)  y = Relu(h)", ["Relu"]),
        ("h = Max(x, a)  y = Min(h, b)", ["Clip"]),
        ("h = Min(x, b)  y = Max(h, a)", ["Clip"]),
        ("h = Max(x, d)  y = Min(h, c)", ["Max", "Min"]),
        ("h = Min(x, c)  y = Max(h, d)", ["Min", "Max"]),
        ("h = Max(x, a, c)  y = Min(h, b)", ["Max", "Min"]),
    ],
)
def test_bounds(text: str, left: list[str]) -> None:
    constants = {name: np.float32(number) for name, number in BOUNDS.items()}
    assert exact(f"g (float[4,5] x) => (float[4,5] y) {{ {text} }}", {"x": F32}, **constants) == left


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float16, np.float64])
def test_bounds_of_other_types(kind: type) -> None:
    x = np.array([-100, -3, 0, 2, 9], kind)
    name = {np.int8: "int8", np.int64: "int64", np.float16: "float16", np.float64: "double"}[kind]
    text = f"g ({name}[5] x) => ({name}[5] y) {{ h = Clip(x, a)  y = Clip(h, c, b) }}"
    assert exact(text, {"x": x}, a=kind(-1), b=kind(6), c=kind(1)) == ["Clip"]


TYPES = {"float": 1, "float16": 10, "double": 11, "int8": 3, "int32": 6, "int64": 7, "uint8": 2, "bool": 9}


@pytest.mark.parametrize("source", ["float", "double", "int64", "int8", "float16"])
@pytest.mark.parametrize("between", ["float", "float16", "double", "int32", "bool", "uint8"])
@pytest.mark.parametrize("target", ["float", "float16", "double", "int64"])
def test_casts_that_round_stay(source: str, between: str, target: str) -> None:
    numbers = np.array([0, -1, 1.5, 2049.3, 16777217.0, 1.0 + 2**-30, 100, -3.7])
    if source == "int8" or "int" in between + target:  # what an integer cannot hold, engines cast as they like
        numbers = abs(numbers) % 100
    kind = onnx.helper.tensor_dtype_to_np_dtype(TYPES[source])
    x = (np.minimum(numbers, 65504) if source == "float16" else numbers).astype(kind)
    casts = f"h = Cast<to={TYPES[between]}>(x)  y = Cast<to={TYPES[target]}>(h)"
    exact(f"g ({source}[8] x) => ({target}[8] y) {{ {casts} }}", {"x": x})


def test_a_cast_the_way_round_goes_where_nothing_is_rounded() -> None:
    text = "g (float16[20] x) => (float16[20] y) { h = Cast<to=1>(x)  i = Cast<to=10>(h)  y = Neg(i) }"
    assert exact(text, {"x": np.linspace(-3, 3, 20).astype(np.float16)}) == ["Neg"]
