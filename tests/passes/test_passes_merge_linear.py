"""Two linear layers in a row are one, where that is no more work."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import applies, kinds, refuses

from fewbits.passes.merge_linear import merge_linear
from models import Array, network, node, oracle

Weights = dict[str, Array | tuple[int, ...]]

MATRICES: dict[str, tuple[str, Weights, list[str]]] = {
    "gemm, gemm": ("h = Gemm(x, w1, b1)  [last] y = Gemm(h, w2, b2)", {"w2": (7, 4)}, ["Gemm"]),
    "transposed, with alpha and beta": (
        "h = Gemm<alpha=0.5>(x, w1, b1)  [last] y = Gemm<transB=1, alpha=3.0, beta=0.5>(h, v2, b2)",
        {"v2": (4, 7)},
        ["Gemm"],
    ),
    "matmul, gemm": ("h = MatMul(x, w1)  [last] y = Gemm(h, w2, b2)", {"w2": (7, 4)}, ["Gemm"]),
    "gemm, matmul": ("h = Gemm(x, w1, b1)  [last] y = MatMul(h, w2)", {"w2": (7, 4)}, ["MatMul", "Add"]),
    "matmul, matmul": ("h = MatMul(x, w1)  [last] y = MatMul(h, w2)", {"w2": (7, 4)}, ["MatMul"]),
    "with their biases": (
        "m = MatMul(x, w1)  h = Add(m, b1)  [last] n = MatMul(h, w2)  y = Add(b2, n)",
        {"w2": (7, 4)},
        ["MatMul", "Add"],
    ),
}


def used(text: str, weights: Weights) -> Weights:
    return {name: array for name, array in weights.items() if f" {name}" in text or f"({name}" in text}


@pytest.mark.parametrize("pair", MATRICES)
def test_matrices_merge(pair: str) -> None:
    text, weights, left = MATRICES[pair]
    weights = {"w1": (5, 7), "b1": (7,), "b2": (4,)} | weights
    model = network(f"g (float[3,5] x) => (float[3,4] y) {{ {text} }}", **used(text, weights))
    assert applies(merge_linear, model) == left
    assert node(model, "last")
    assert model.graph[-1].outputs[0].name == "y"


def test_stacks_of_three_merge_into_one() -> None:
    model = network(
        """g (float[2,3,5] x) => (float[2,3,2] y) {
             h = MatMul(x, w1)  i = MatMul(h, w2)  j = Add(i, b)  [last] y = MatMul(j, w3) }""",
        w1=(5, 6),
        w2=(6, 7),
        b=(7,),
        w3=(7, 2),
    )
    assert applies(merge_linear, model) == ["MatMul", "Add"]


CONVS: dict[str, tuple[str, Weights]] = {
    "1x1, 1x1": ("h = Conv(x, w1, b1)  [last] y = Conv(h, w2, b2)", {"w1": (8, 4, 1, 1), "w2": (4, 8, 1, 1)}),
    "3x3 with stride and padding, 1x1": (
        """h = Conv<pads=[1,0,1,0], strides=[2,1], dilations=[1,2]>(x, w1, b1)
           [last] y = Conv<kernel_shape=[1,1]>(h, w2)""",
        {"w1": (8, 4, 3, 3), "w2": (4, 8, 1, 1)},
    ),
    "1x1, 3x3 that pads nothing": (
        "h = Conv(x, w1, b1)  [last] y = Conv<kernel_shape=[3,3], strides=[2,2]>(h, w2, b2)",
        {"w1": (8, 4, 1, 1), "w2": (4, 8, 3, 3)},
    ),
    "1x1 without bias, 3x3 that pads": (
        "h = Conv(x, w1)  [last] y = Conv<pads=[1,1,1,1]>(h, w2, b2)",
        {"w1": (8, 4, 1, 1), "w2": (4, 8, 3, 3)},
    ),
}


@pytest.mark.parametrize("pair", CONVS)
def test_convolutions_merge(pair: str) -> None:
    text, weights = CONVS[pair]
    weights = {"b1": (8,), "b2": (4,)} | weights
    model = network(f"g (float[1,4,7,7] x) => (float[1,4,H,W] y) {{ {text} }}", **used(text, weights))
    assert applies(merge_linear, model) == ["Conv"]
    assert node(model, "last")


STAY: dict[str, tuple[str, Weights]] = {
    "a second reader": ("h = Conv(x, w1)  i = Conv(h, w2)  y = Concat<axis=1>(h, i)", {}),
    "a model output": ("h = Conv(x, w1)  y = Conv(h, w2)", {}),
    "an activation between": ("h = Conv(x, w1)  r = Relu(h)  y = Conv(r, w2)", {}),
    "weights that move": ("h = Conv(x, w1)  v = Conv(x, w1)  y = Conv(h, v)", {"w1": (1, 4, 1, 1)}),
    "groups in the first": ("h = Conv<group=2>(x, w1)  y = Conv(h, w2)", {"w1": (8, 2, 1, 1)}),
    "groups in the second": ("h = Conv(x, w1)  y = Conv<group=2>(h, w2)", {"w2": (4, 4, 1, 1)}),
    "a bottleneck": ("h = Conv(x, w1)  y = Conv(h, w2)", {"w1": (1, 4, 1, 1), "w2": (4, 1, 1, 1)}),
    "a wide kernel after a narrowing": (
        "h = Conv(x, w1)  y = Conv(h, w2)",
        {"w1": (2, 4, 1, 1), "w2": (4, 2, 3, 3)},
    ),
    "a border that sees the bias": (
        "h = Conv(x, w1, b1)  y = Conv<pads=[1,1,1,1]>(h, w2)",
        {"w2": (4, 8, 3, 3)},
    ),
    "two wide kernels": ("h = Conv(x, w1)  y = Conv(h, w2)", {"w1": (8, 4, 3, 3), "w2": (4, 8, 3, 3)}),
    "a 1x1 with a stride": ("h = Conv(x, w1)  y = Conv<strides=[2,2]>(h, w2)", {"w1": (8, 4, 3, 3)}),
    "a transposed convolution": ("h = Conv(x, w1)  y = ConvTranspose(h, v2)", {}),
}


@pytest.mark.parametrize("why", STAY)
def test_it_refuses(why: str) -> None:
    text, weights = STAY[why]
    weights = {"w1": (8, 4, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1), "v2": (8, 4, 1, 1)} | weights
    outputs = "float[1,C,H,W] h, float[1,C,H,W] y" if why == "a model output" else "float[1,C,H,W] y"
    refuses(merge_linear, network(f"g (float[1,4,7,7] x) => ({outputs}) {{ {text} }}", **used(text, weights)))


def test_low_rank_factors_stay() -> None:
    text = "g (float[3,9] x) => (float[3,8] y) { h = MatMul(x, w1)  y = MatMul(h, w2) }"
    refuses(merge_linear, network(text, w1=(9, 2), w2=(2, 8)))


@given(st.lists(st.integers(1, 9), min_size=3, max_size=5), st.integers(0, 31))
def test_any_stack_of_matrices_computes_what_it_did_with_no_more_work(sizes: list[int], biases: int) -> None:
    lines, value, weights = [], "x", {}
    for index, (k, n) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{index}"] = (k, n)
        bias = f", b{index}" if biases >> index & 1 else ""
        if bias:
            weights[f"b{index}"] = (n,)
        lines.append(f"v{index} = Gemm({value}, w{index}{bias})")
        value = f"v{index}"
    model = network(
        f"g (float[2,{sizes[0]}] x) => (float[2,{sizes[-1]}] y) {{ {' '.join(lines)}  y = Identity({value}) }}",
        **weights,
    )
    work = sum(k * n for k, n in itertools.pairwise(sizes))
    x = {"x": np.random.default_rng(2).normal(size=(2, sizes[0])).astype(np.float32)}
    before = oracle(model, x)["y"]
    merge_linear(model)
    left = [n.inputs[1].shape for n in model.graph if n.op_type == "Gemm"]
    assert sum(int(shape[0]) * int(shape[1]) for shape in left) <= work
    assert kinds(model)[-1] == "Identity"
    np.testing.assert_allclose(oracle(model, x)["y"], before, rtol=1e-4, atol=1e-4 * (1 + np.abs(before).max()))
