"""Scales and shifts by constants: into the layer before, into the layer behind, and into one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import applies, kinds, refuses

from fewbits.passes.fold_after import fold_after
from fewbits.passes.fold_before import fold_before
from fewbits.passes.merge_affine import merge_affine
from models import Array, f32, network, node, oracle

rng = np.random.default_rng(5)
PER_CHANNEL = (rng.uniform(0.5, 2, (1, 6, 1, 1)) * rng.choice([-1, 1], (1, 6, 1, 1))).astype(np.float32)
PER_INPUT = rng.uniform(0.5, 2, (4, 1, 1)).astype(np.float32)
ROW = rng.uniform(0.5, 2, 6).astype(np.float32)

AFTER = {
    "conv": ("Conv<pads=[1,1,1,1]>(x, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}, PER_CHANNEL),
    "grouped conv": ("Conv<group=2>(x, w)", {"w": (6, 2, 3, 3)}, PER_CHANNEL),
    "transposed conv": ("ConvTranspose<strides=[2,2]>(x, w, b)", {"w": (4, 6, 2, 2), "b": (6,)}, PER_CHANNEL),
    "grouped transposed conv": ("ConvTranspose<group=2>(x, w)", {"w": (4, 3, 2, 2)}, PER_CHANNEL),
    "gemm": ("Gemm(f, w, b)", {"w": (64, 6), "b": (6,)}, ROW),
    "gemm with alpha and beta": (
        "Gemm<transB=1, alpha=0.5, beta=2.0>(f, w, b)",
        {"w": (6, 64), "b": (6,)},
        ROW,
    ),
    "gemm without bias, with alpha": ("Gemm<transB=1, alpha=0.5>(f, w)", {"w": (6, 64)}, ROW),
    "matmul": ("MatMul(f, w)", {"w": (64, 6)}, ROW),
}


@pytest.mark.parametrize("kind", AFTER)
def test_chains_behind_a_layer_fold_into_it(kind: str) -> None:
    text, weights, k = AFTER[kind]
    flat = "f = Flatten(x)" if "(f," in text else ""
    model = network(
        f"""g (float[1,4,4,4] x) => (float[{"1,C" if flat else "1,C,H,W"}] y) {{
              {flat}
              [layer] c = {text}
              m = Mul(k, c)  a = Add(m, k)  d = Div(a, k2)  s = Sub(k, d)  y = Neg(s) }}""",
        **weights,
        k=k,
        k2=f32(3),
    )
    left = applies(fold_after, model)
    # A MatMul has no place for a bias: the shift becomes its Add.
    assert [op for op in left if op != "Flatten"] == [text.split("<")[0].split("(")[0], *["Add"] * (kind == "matmul")]
    assert node(model, "layer")
    assert model.graph[-1].outputs[0].name == "y"


def test_scores_are_scaled_in_the_projection_behind_its_bias() -> None:
    model = network(
        "g (float[1,5,8] x) => (float[1,5,6] y) { [q] m = MatMul(x, w)  [b] a = Add(v, m)  y = Mul(a, k) }",
        w=(8, 6),
        v=ROW,
        k=f32(0.125),
    )
    assert applies(fold_after, model) == ["MatMul", "Add"]
    assert node(model, "b").outputs[0].name == "y"


NOT_AFTER = {
    "a second reader": "(float[1,6,2,2] y) { c = Conv(x, w)  m = Mul(c, k)  y = Add(m, c) }",
    "a model output": "(float[1,6,2,2] c, float[1,6,2,2] y) { c = Conv(x, w)  y = Mul(c, k) }",
    "another axis": "(float[1,6,2,2] y) { c = Conv(x, w)  y = Mul(c, columns) }",
    "more axes": "(float[1,1,6,2,2] y) { c = Conv(x, w)  y = Mul(c, five) }",
    "more channels": "(float[1,6,2,2] y) { c = Conv(x, one)  y = Mul(c, k) }",
    "a constant that moves": "(float[1,6,2,2] y) { c = Conv(x, w)  m = Relu(x)  p = ReduceSum(m)  y = Mul(c, p) }",
    "weights that move": "(float[1,6,2,2] y) { v = Mul(x, k2)  c = Conv(w, v)  y = Mul(c, k2) }",
    "division by it": "(float[1,6,2,2] y) { c = Conv(x, w)  y = Div(k, c) }",
    "division by zero": "(float[1,6,2,2] y) { c = Conv(x, w)  y = Div(c, zero) }",
    "numbers that overflow": "(float[1,6,2,2] y) { c = Conv(x, w)  y = Mul(c, huge) }",
    "a residual": "(float[1,6,2,2] y) { c = Conv(x, w)  d = Conv(x, w)  y = Add(c, d) }",
    "a Gemm with a bias for every sample": """(float[4,6] y) {
        f = Reshape(x, rows)  c = Gemm(f, matrix, each)  y = Mul(c, row) }""",
    "a Gemm that transposes its input": """(float[16,6] y) {
        f = Reshape(x, rows)  c = Gemm<transA=1>(f, tall)  y = Mul(c, row) }""",
}


@pytest.mark.parametrize("why", NOT_AFTER)
def test_fold_after_refuses(why: str) -> None:
    weights: dict[str, Array | tuple[int, ...]] = {
        "w": (6, 4, 3, 3) if why != "weights that move" else (6, 4, 4, 4),
        "one": (1, 4, 3, 3),
        "k": PER_CHANNEL,
        "k2": f32(2),
        "columns": f32(1, 2),
        "five": PER_CHANNEL[None],
        "zero": f32(0),
        "huge": f32(3e38) * 1,
        "rows": np.array([4, 16], np.int64),
        "matrix": (16, 6),
        "tall": (4, 6),
        "each": (4, 6),
        "row": ROW,
    }
    text = NOT_AFTER[why]
    if why == "numbers that overflow":
        weights["w"] = np.full((6, 4, 3, 3), 10, np.float32)
    used = {name: array for name, array in weights.items() if f"{name})" in text or f"{name}," in text}
    refuses(fold_after, network(f"g (float[1,4,4,4] x) => {text}", **used))


BEFORE = {
    "conv": ("Conv(a, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}),
    "conv without bias": ('Conv<auto_pad="VALID">(a, w)', {"w": (6, 4, 3, 3)}),
    "grouped conv": ("Conv<group=2, strides=[2,2]>(a, w)", {"w": (6, 2, 3, 3)}),
    "depthwise conv": ("Conv<group=4>(a, w)", {"w": (4, 1, 3, 3)}),
}


@pytest.mark.parametrize("kind", BEFORE)
def test_scale_and_shift_fold_into_a_convolution_that_pads_nothing(kind: str) -> None:
    text, weights = BEFORE[kind]
    model = network(
        f"""g (float[1,4,6,6] x) => (float[1,C,H,W] y) {{
              s = Sub(x, k)  a = Mul(s, k2)  [layer] y = {text} }}""",
        **weights,
        k=PER_INPUT,
        k2=PER_INPUT[::-1].copy(),
    )
    assert applies(fold_before, model) == ["Conv"]


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("Conv<pads=[1,1,1,1]>(a, w)", {"w": (6, 4, 3, 3)}),
        ("ConvTranspose<group=2, strides=[2,2]>(a, w)", {"w": (4, 3, 2, 2)}),
        ('Conv<auto_pad="SAME_UPPER">(a, w)', {"w": (6, 4, 3, 3)}),
    ],
)
def test_a_scale_folds_whatever_the_padding_and_a_shift_does_not(
    text: str, weights: dict[str, tuple[int, ...]]
) -> None:
    for op, left in (("Div", 1), ("Add", 2)):
        model = network(
            f"g (float[1,4,6,6] x) => (float[1,C,H,W] y) {{ a = {op}(x, k)  y = {text} }}", **weights, k=PER_INPUT
        )
        if op == "Div":
            assert len(applies(fold_before, model)) == left
        else:
            refuses(fold_before, model)


def test_batch_norm_folds_into_the_layer_behind() -> None:
    norm = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in ("gamma", "beta", "mean", "var")}
    model = network(
        """g (float[1,4,6,6] x) => (float[1,6,4,4] y) {
             n = BatchNormalization(x, gamma, beta, mean, var)  y = Conv(n, w) }""",
        w=(6, 4, 3, 3),
        **norm,
    )
    assert applies(fold_before, model) == ["Conv"]


@pytest.mark.parametrize("gemm", ["Gemm(a, w, b)", "Gemm<alpha=0.5, beta=3.0>(a, w, b)", "Gemm<transB=1>(a, v, b)"])
def test_matrices_take_what_is_before(gemm: str) -> None:
    weights = {"w": (5, 6)} if "w," in gemm else {"v": (6, 5)}
    model = network(
        f"g (float[3,5] x) => (float[3,6] y) {{ m = Mul(x, k)  a = Add(m, k)  y = {gemm} }}",
        **weights,
        b=(6,),
        k=ROW[:5].copy(),
    )
    assert applies(fold_before, model) == ["Gemm"]


def test_a_matmul_takes_a_shift_where_it_has_a_bias() -> None:
    text = "g (float[2,3,5] x) => (float[2,3,6] y) {{ a = Sub(k, x)  {} }}"
    k = ROW[:5].copy()
    model = network(text.format("m = MatMul(a, w)  y = Add(m, b)"), w=(5, 6), b=(6,), k=k)
    assert applies(fold_before, model) == ["MatMul", "Add"]
    refuses(fold_before, network(text.format("y = MatMul(a, w)"), w=(5, 6), k=k))


NOT_BEFORE = {
    "a second reader": "m = Mul(x, k)  c = Conv(m, w)  y = Mul(c, m)",
    "another axis": "m = Mul(x, columns)  y = Conv(m, w)",
    "weights that move": "m = Mul(x, k)  v = Relu(w)  v2 = Mul(v, x)  y = Conv(m, v2)",
    "the end of a GELU": "e = Erf(x)  p = Add(e, one)  q = Mul(x, p)  m = Mul(q, half)  y = Conv(m, w)",
    "the end of a normalisation": """r = Sqrt(x)  d = Div(x, r)  g = Mul(d, k)  m = Add(g, k)  y = Conv(m, w)""",
    "more channels": "m = Mul(x, k)  y = Conv(m, w)",
}


@pytest.mark.parametrize("why", NOT_BEFORE)
def test_fold_before_refuses(why: str) -> None:
    weights = {"w": (4, 4, 1, 1), "k": PER_INPUT, "columns": f32(1, 2, 3, 4), "one": f32(1), "half": f32(0.5)}
    text = NOT_BEFORE[why]
    if why == "weights that move":
        weights["w"] = (1, 4, 4, 4)
    channels = 1 if why == "more channels" else 4
    used = {name: array for name, array in weights.items() if f"{name})" in text}
    refuses(fold_before, network(f"g (float[1,{channels},4,4] x) => (float[1,4,H,W] y) {{ {text} }}", **used))


CHAIN = {
    "two shifts": ("a = Add(x, k)  y = Sub(a, k2)", ["Add"]),
    "two scales": ("a = Mul(x, k)  y = Div(a, k2)", ["Mul"]),
    "all of them": ("a = Mul(x, k)  b = Add(a, k)  c = Div(b, k2)  d = Sub(k2, c)  y = Neg(d)", ["Mul", "Add"]),
    "a shift that returns": ("a = Add(x, k)  b = Mul(a, k2)  c = Sub(b, k)  y = Relu(c)", ["Mul", "Add", "Relu"]),
}


@pytest.mark.parametrize("what", CHAIN)
def test_chains_merge(what: str) -> None:
    text, left = CHAIN[what]
    model = network(f"g (float[1,4,3,3] x) => (float[1,4,3,3] y) {{ {text} }}", k=PER_INPUT, k2=f32(1.7))
    assert applies(merge_affine, model) == left


NOT_CHAIN = {
    "one of each": "(float[1,4,3,3] y) { a = Mul(x, k)  y = Add(a, k) }",
    "a second reader": "(float[1,4,3,3] y) { a = Mul(x, k)  b = Mul(a, k)  y = Add(a, b) }",
    "a model output": "(float[1,4,3,3] a, float[1,4,3,3] y) { a = Mul(x, k)  y = Mul(a, k) }",
    "a larger joint constant": "(float[1,4,3,3] y) { a = Mul(x, k)  y = Mul(a, columns) }",
    "a constant that broadcasts": "(float[2,4,3,3] y) { a = Mul(x, k)  y = Mul(a, two) }",
    "rounding on purpose": "(float[1,4,3,3] y) { a = Add(x, magic)  y = Sub(a, magic) }",
    "numbers that overflow": "(float[1,4,3,3] y) { a = Mul(x, big)  y = Mul(a, big) }",
    "the end of a GELU": "(float[1,4,3,3] y) { e = Erf(x)  q = Mul(x, e)  a = Mul(q, k)  y = Mul(a, k) }",
}


@pytest.mark.parametrize("why", NOT_CHAIN)
def test_chains_stay(why: str) -> None:
    weights = {
        "k": PER_INPUT,
        "columns": f32(1, 2, 3),
        "two": np.ones((2, 1, 1, 1), np.float32) * 3,
        "magic": f32(12582912),
        "big": f32(1e30),
    }
    text = NOT_CHAIN[why]
    used = {name: array for name, array in weights.items() if f" {name})" in text}
    refuses(merge_affine, network(f"g (float[1,4,3,3] x) => {text}", **used))


@given(
    st.lists(
        st.tuples(st.sampled_from(["Mul", "Add", "Sub", "Div"]), st.booleans(), st.floats(0.25, 4), st.booleans()),
        min_size=2,
        max_size=6,
    )
)
def test_any_chain_computes_what_it_did(steps: list[tuple[str, bool, float, bool]]) -> None:
    lines, value, weights = [], "x", {}
    for index, (op, first, number, channels) in enumerate(steps):
        weights[f"k{index}"] = (PER_INPUT * np.float32(number)) if channels else f32(number)
        pair = f"k{index}, {value}" if first and op != "Div" else f"{value}, k{index}"
        lines.append(f"v{index} = {op}({pair})")
        value = f"v{index}"
    model = network(
        f"g (float[1,4,3,3] x) => (float[1,4,3,3] y) {{ {' '.join(lines)}  y = Identity({value}) }}", **weights
    )
    x = {"x": np.random.default_rng(1).normal(size=(1, 4, 3, 3)).astype(np.float32)}
    before, count = oracle(model, x)["y"], len(kinds(model))
    merged = merge_affine(model)
    assert (len(kinds(model)) < count) == merged
    assert not merge_affine(model)
    np.testing.assert_allclose(oracle(model, x)["y"], before, rtol=1e-4, atol=1e-4 * (1 + np.abs(before).max()))
