"""Masks, positions, times and angles: what the checks keep in FP32 computes what the original does, rounded elsewhere.

The truth is ONNX Runtime on the untouched graph; the FP16 graph runs with a rounding behind every operator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.data import Sample
from fewbits.engines import TRIALS, Options
from fewbits.frontends.onnx import normalise
from fewbits.hazards import check, unsafe_constants, unsafe_nodes
from fewbits.hazards.observe import observe
from fewbits.passes import simplify
from fewbits.passes.rounded import rounded
from fewbits.passes.to_half import compute_fp16, store_half
from models import f32, i64, network, proto

LOWEST = float(np.finfo(np.float32).min)
MASKED = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1]], np.float32)
SCORES = np.random.default_rng(3).normal(0, 4, (3, 4)).astype(np.float32)
BRANCH = """i = If(yes) <
    then_branch = a () => (float[N,1] t) { t = Cast<to=1>(x) },
    else_branch = b () => (float[N,1] e) { c = Cast<to=1>(x)  e = Neg(c) } >"""
WEIGHTS: dict[str, Any] = {
    "one": f32(1),
    "yes": np.array(True),
    "w": (4, 5),
    "frequencies": (1 / 10000 ** (np.arange(16) / 16)).astype(np.float32)[None],
    "origin": f32(1.6e9),
    "day": f32(86400),
    "steps": i64(*range(0, 70000, 7000)),
}


def masking(fill: float, how: str) -> str:
    """An attention's masked softmax in the ways exporters write it."""
    number = f"{fill:.9g}"
    ways = {
        "where": f"big = Constant<value = float[1] {{{number}}}>()  k = Cast<to=9>(m)  a = Where(k, s, big)",
        "filled": f"""h = Shape(s)  big = ConstantOfShape<value = float[1] {{{number}}}>(h)
            k = Cast<to=9>(m)  a = Where(k, s, big)""",
        "expanded": f"""h = Shape(s)  c = Constant<value = float[1] {{{number}}}>()  big = Expand(c, h)
            k = Cast<to=9>(m)  a = Where(k, s, big)""",
        "product": f"""big = Constant<value = float[1] {{{number}}}>()  i = Sub(one, m)  b = Mul(i, big)
            a = Add(s, b)""",
        "integers": f"""big = Constant<value = float[1] {{{number}}}>()  n = Cast<to=7>(m)  f = Cast<to=1>(n)
            i = Sub(one, f)  b = Mul(i, big)  a = Add(s, b)""",
    }
    return f"""g (float[3,4] x, float[3,4] m) => (float[3,5] y) {{
        s = Mul(x, one)  {ways[how]}  p = Softmax<axis=-1>(a)  y = MatMul(p, w) }}"""


def counting(body: str) -> str:
    return f"g (int64[N,1] x) => (float[N,M] y) {{ {body} }}"


COUNTS = {
    "positions": (counting("f = Cast<to=1>(x)  a = Mul(f, frequencies)  y = Sin(a)"), [[5], [4097], [70001]]),
    "rotary": (counting("f = Cast<to=1>(x)  a = MatMul(f, frequencies)  y = Cos(a)"), [[5], [4097], [70001]]),
    "like": (counting("f = CastLike(x, one)  a = Mul(f, frequencies)  y = Sin(a)"), [[3], [60000]]),
    "seconds": (counting("f = Cast<to=1>(x)  d = Sub(f, origin)  y = Div(d, day)"), [[1600000000], [1600864000]]),
    "differences": (counting("f = Cast<to=1>(x)  g = Cast<to=1>(steps)  d = Sub(f, g)  y = Tanh(d)"), [[4], [7001]]),
    "lengths": (counting("s = ReduceSum(x)  f = Cast<to=1>(s)  y = Reciprocal(f)"), [[100001]]),
    "out of a branch": (counting(f"{BRANCH}  a = Mul(i, frequencies)  y = Sin(a)"), [[4097]]),
}


def run(model: ir.Model, feeds: dict[str, Any]) -> dict[str, Any]:
    session = TRIALS.compile(model, Options())
    try:
        return {name: array.copy() for name, array in session.run(feeds).items()}
    finally:
        session.close()


def used(text: str) -> dict[str, Any]:
    return {name: value for name, value in WEIGHTS.items() if f"{name})" in text or f"({name}" in text}


def samples(model: ir.Model, feeds: dict[str, Any]) -> list[Sample]:
    """Ranges are taken sample by sample: a free batch is one row at a time."""
    if all(isinstance(value.shape[0], int) for value in model.graph.inputs):
        return [Sample("fed", feeds)]
    count = len(next(iter(feeds.values())))
    return [Sample(str(i), {name: array[i : i + 1] for name, array in feeds.items()}) for i in range(count)]


def both(text: str, feeds: dict[str, Any], *, data: bool = False) -> tuple[Any, Any]:
    """What the original gives, and what FP16 with the unsafe nodes in FP32 does."""
    original = proto(text, **used(text))
    simple = simplify(normalise(ir.from_proto(original)))
    seen = observe(simple, samples(simple, feeds)) if data else None
    half = compute_fp16(simple, keep=unsafe_nodes(check(simple, seen)))
    return run(ir.from_proto(original), feeds)["y"], run(rounded(half), feeds)["y"]


@pytest.mark.parametrize("data", [False, True], ids=["graph", "data"])
@pytest.mark.parametrize("fill", [-1e4, -65504.0, -1e9, LOWEST])
@pytest.mark.parametrize("how", ["where", "filled", "expanded", "product", "integers"])
def test_rows_masked_as_a_whole_are_what_they_are_in_fp32(how: str, fill: float, data: bool) -> None:
    truth, got = both(masking(fill, how), {"x": SCORES, "m": MASKED}, data=data)
    np.testing.assert_allclose(got, truth, atol=0.03)  # FP32 itself is left with steps of 1/128 beside 65504


@pytest.mark.parametrize("data", [False, True], ids=["graph", "data"])
@pytest.mark.parametrize("case", COUNTS)
def test_large_whole_numbers_are_fp32_until_they_are_small(case: str, data: bool) -> None:
    text, numbers = COUNTS[case]
    truth, got = both(text, {"x": np.array(numbers, np.int64)}, data=data)
    np.testing.assert_allclose(got, truth, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("data", [None, [[3], [200]], [[3], [9000]]], ids=["graph", "small", "large"])
def test_data_decide_whether_a_count_is_fp32(data: list[list[int]] | None) -> None:
    model = network(counting("f = Cast<to=1>(x)  a = Add(f, one)  y = Tanh(a)"), one=f32(1))
    seen = None if data is None else observe(model, samples(model, {"x": np.array(data, np.int64)}))
    levels = [f.fp16 for f in check(model, seen) if f.check == "integers" and f.fp16]
    assert levels == (["possible"] if data is None else ["certain"] if data[1][0] > 2048 else [])


@pytest.mark.parametrize(("peak", "level"), [(3.0, None), (40.0, "possible"), (300.0, "certain")])
def test_sines_by_the_largest_angle_on_the_data(peak: float, level: str | None) -> None:
    model = network("g (float[N,4] x) => (float[N,4] y) { a = Mul(x, two)  [sine] y = Sin(a) }", two=f32(2))
    seen = observe(model, [Sample("fed", {"x": np.full((1, 4), peak / 2, np.float32)})])
    assert [f.fp16 for f in check(model, seen) if f.check == "periodic"] == ([] if level is None else [level])


BOUNDED = {
    "a flag": "b = Greater(x, zero)  f = Cast<to=1>(b)",
    "a class": "k = ArgMax<axis=1>(z)  f = Cast<to=1>(k)",
    "a byte": "b = Cast<to=2>(x)  f = Cast<to=1>(b)",
    "a remainder": "m = Mod(x, ten)  f = Cast<to=1>(m)",
    "a position in a small table": "e = Gather(table, x)  s = ReduceSum(e)  c = Cast<to=1>(x)  f = Mul(c, s)",
}


@pytest.mark.parametrize("case", BOUNDED)
def test_small_whole_numbers_are_nobodys_hazard(case: str) -> None:
    weights = {"zero": i64(0), "ten": i64(10), "table": np.ones((50, 2), np.float32)}
    text = f"g (int64[N,1] x, float[N,10] z) => (float[N,1] y) {{ {BOUNDED[case]}  y = Tanh(f) }}"
    model = network(text, **{k: v for k, v in weights.items() if f"{k}," in text or f" {k})" in text})
    assert [f for f in check(model) if f.check == "integers"] == []


def test_free_sizes_are_observed_as_well() -> None:
    model = network("g (float[N,T] x) => (float[N,T] y) { a = Mul(x, k)  y = Sub(a, x) }", k=f32(1000))
    seen = observe(model, [Sample("fed", {"x": f32(1, -3, 2)[None]}), Sample("fed", {"x": f32(5)[None]})])
    assert (seen["a"].low, seen["a"].high) == (-3000, 5000)
    assert (seen["x"].low, seen["x"].high) == (-3, 5)


@pytest.mark.parametrize(
    ("text", "array", "fp16", "bf16"),
    [
        ("y = Add(h, c)", (np.arange(4096, dtype=np.float32) % 2048).reshape(1, -1) / 2, False, True),
        ("y = Add(h, c)", np.arange(4096, dtype=np.float32).reshape(1, -1), True, True),
        ("y = Mul(h, c)", np.random.default_rng(1).normal(size=(1, 4096)).astype(np.float32), False, False),
        ("r = Reshape(h, square)  y = GridSample(r, c)", np.linspace(-1, 1, 512, dtype=np.float32), True, True),
    ],
    ids=["halves to 1024", "to 4096", "weights", "a sampling grid"],
)
def test_stored_in_16_bits_coordinates_stay_fp32(text: str, array: np.ndarray, fp16: bool, bf16: bool) -> None:
    weights = {"one": f32(1), "c": array.reshape(1, 16, 16, 2) if "Grid" in text else array}
    if "Grid" in text:
        weights["square"] = i64(1, 1, 64, 64)
    shape = "float[1,1,16,16]" if "Grid" in text else "float[1,4096]"
    model = network(f"g (float[1,4096] x) => ({shape} y) {{ h = Mul(x, one)  {text} }}", **weights)
    for name, dtype, stays in (("fp16", ir.DataType.FLOAT16, fp16), ("bf16", ir.DataType.BFLOAT16, bf16)):
        exact = unsafe_constants(model, check(model), name)
        stored = store_half(model, dtype, exact=exact)
        assert ("c" in exact, "c.half" in stored.graph.initializers) == (stays, not stays)


def test_weights_of_subgraphs_are_stored_outside_them() -> None:
    text = """g (float[1,16] x) => (float[1,16] y) {
        i = If(yes) < then_branch = a () => (float[1,16] t) {
            w = Constant<value = float[16,16] {%s}>()  t = MatMul(x, w) },
            else_branch = b () => (float[1,16] e) { e = Neg(x) } >
        y = Relu(i) }"""
    numbers = ",".join(f"{n:.6f}" for n in np.random.default_rng(4).normal(size=256))
    model = network(text % numbers, yes=np.array(True))
    stored = store_half(model, ir.DataType.BFLOAT16)
    assert [v.dtype for v in stored.graph.initializers.values() if v.shape == (16, 16)] == [ir.DataType.BFLOAT16]
    feeds = {"x": np.random.default_rng(5).normal(size=(1, 16)).astype(np.float32)}
    np.testing.assert_allclose(run(stored, feeds)["y"], run(model, feeds)["y"], atol=0.05)
