"""Equalized channels compute the same to the last bit, only where that is certain, and pay where channels stand out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from tuning import weights

from fewbits.quantization.corrections.bundles import bundles
from fewbits.quantization.corrections.equalize import Magnitudes, equalize, promising
from models import check, feed, i64, network, on_onnxruntime, oracle

Array = np.ndarray


def spread(model: ir.Model, seed: int = 1) -> Magnitudes:
    """Of every value of two or more axes: channels whose largest numbers differ by up to a thousand times."""
    rng = np.random.default_rng(seed)
    made = {}
    for n in model.graph:
        for v in n.outputs:
            assert v.shape is not None
            sizes = [size for size in v.shape if isinstance(size, int)]
            if len(sizes) > 1:
                made[v.name or ""] = np.exp2(rng.uniform(-5, 5, sizes[2 if len(sizes) == 3 else 1])).astype(np.float32)
    return made


def convs(between: str, **more: Array | tuple[int, ...]) -> ir.Model:
    """Two convolutions with something between them: from ``c`` to ``r``, eight channels."""
    return network(
        f"""g (float[1,3,8,8] x) => (y) {{
             [one] c = Conv<pads=[1,1,1,1]>(x, w1, b1)  {between}
             [two] d = Conv(r, w2, b2)  y = Sigmoid(d) }}""",
        **({"w1": (8, 3, 3, 3), "b1": (8,), "w2": (5, 8, 1, 1), "b2": (5,)} | more),
    )


def depthwise() -> ir.Model:
    return network(
        """g (float[1,4,8,8] x) => (float[1,3,8,8] y) {
             [expand] e = Conv(x, w1, b1)  r1 = Relu(e)
             [depth] d = Conv<group=8, pads=[1,1,1,1]>(r1, w2, b2)  r2 = Relu(d)
             [project] p = Conv(r2, w3)  y = Sigmoid(p) }""",
        w1=(8, 4, 1, 1),
        b1=(8,),
        w2=(8, 1, 3, 3),
        b2=(8,),
        w3=(3, 8, 1, 1),
    )


def grouped() -> ir.Model:
    return network(
        """g (float[1,4,8,8] x) => (float[1,3,8,8] y) {
             [one] e = Conv<group=2>(x, w1)  r1 = Relu(e)
             [two] d = Conv<group=2, pads=[1,1,1,1]>(r1, w2, b2)  r2 = Relu(d)
             [three] p = Conv(r2, w3)  y = Sigmoid(p) }""",
        w1=(8, 2, 1, 1),
        w2=(6, 4, 3, 3),
        b2=(6,),
        w3=(3, 6, 1, 1),
    )


def joined() -> ir.Model:
    """Parts of a concatenation, one of them twice, and a reader of one part alone."""
    return network(
        """g (float[1,3,8,8] x) => (y, z) {
             [left] l = Conv(x, w1, b1)  rl = Relu(l)  [right] r = Conv(x, w2)  rr = Relu(r)
             j = Concat<axis=1>(rl, rr, rl)  [all] a = Conv(j, w3)  y = Sigmoid(a)
             [part] p = Conv(rr, w4)  z = Sigmoid(p) }""",
        w1=(4, 3, 1, 1),
        b1=(4,),
        w2=(5, 3, 1, 1),
        w3=(3, 13, 1, 1),
        w4=(2, 5, 1, 1),
    )


def added() -> ir.Model:
    """Three convolutions whose sums are read by two."""
    return network(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
             [stem] s = Conv(x, w0, b0)  r0 = Relu(s)
             [inner] i = Conv<pads=[1,1,1,1]>(r0, w1, b1)  a = Add(i, r0)  r1 = Relu(a)
             [next] n = Conv(r1, w2)  b = Add(n, r1)  q = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(b)
             [last] l = Conv(q, w3)  y = Sigmoid(l) }""",
        w0=(6, 3, 1, 1),
        b0=(6,),
        w1=(6, 6, 3, 3),
        b1=(6,),
        w2=(6, 6, 1, 1),
        w3=(4, 6, 1, 1),
    )


def flattened() -> ir.Model:
    return network(
        """g (float[1,3,8,8] x) => (float[1,7] y) {
             [conv] c = Conv(x, w1, b1)  r = LeakyRelu(c)  p = GlobalAveragePool(r)  f = Flatten(p)
             [hidden] h = Gemm<transB=1>(f, w2, b2)  q = Relu(h)  [head] l = Gemm(q, w3, b3)  y = Softmax(l) }""",
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(9, 8),
        b2=(9,),
        w3=(9, 7),
        b3=(7,),
    )


def attention() -> ir.Model:
    """A layer norm read by queries, keys and values."""
    return network(
        """g (float[1,6,8] x) => (q, k, v) {
             [norm] n = LayerNormalization(x, g, b)
             [wq] q0 = MatMul(n, w1)  [wk] k0 = MatMul(n, w2)  [wv] v0 = MatMul(n, w3)
             q = Neg(q0)  k = Neg(k0)  v = Neg(v0) }""",
        g=np.linspace(0.5, 2, 8, dtype=np.float32),
        b=(8,),
        w1=(8, 5),
        w2=(8, 5),
        w3=(8, 5),
    )


def linear() -> ir.Model:
    return network(
        """g (float[1,6,8] x) => (float[1,6,5] y) {
             [up] u = MatMul(x, w1)  [bias] a = Add(b1, u)  r = Relu(a)  [down] d = MatMul(r, w2)  y = Tanh(d) }""",
        w1=(8, 12),
        b1=(12,),
        w2=(12, 5),
    )


def sequence() -> ir.Model:
    return network(
        """g (float[1,4,12] x) => (float[1,5,12] y) {
             [one] c = Conv<pads=[1,1]>(x, w1, b1)  r = Relu(c)  [two] d = Conv<pads=[1,1]>(r, w2)  y = Sigmoid(d) }""",
        w1=(8, 4, 3),
        b1=(8,),
        w2=(5, 8, 3),
    )


# Network → the layers whose weights change.
SCALED: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "Relu": (lambda: convs("r = Relu(c)"), "one two"),
    "nothing between": (lambda: convs("r = Identity(c)"), "one two"),
    "PRelu": (lambda: convs("r = PRelu(c, slope)", slope=np.full((8, 1, 1), 0.25, np.float32)), "one two"),
    "MaxPool": (lambda: convs("e = Relu(c) r = MaxPool<kernel_shape=[2,2], pads=[1,1,0,0]>(e)"), "one two"),
    "AveragePool": (lambda: convs("r = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(c)"), "one two"),
    "depthwise": (depthwise, "expand depth project"),
    "grouped": (grouped, "one two three"),
    "Concat": (joined, "left right all part"),
    "residual": (added, "stem inner next last"),
    "Flatten and Gemm": (flattened, "conv hidden head"),
    "layer norm": (attention, "norm wq wk wv"),
    "MatMul and Add": (linear, "up down"),
    "one spatial axis": (sequence, "one two"),
}


@pytest.mark.parametrize("what", SCALED)
def test_the_network_computes_the_same_to_the_last_bit(what: str) -> None:
    build, names = SCALED[what]
    source = build()
    before = ir.to_proto(source).SerializeToString()
    made = equalize(source, spread(source))
    assert ir.to_proto(source).SerializeToString() == before
    check(made)
    for name in names.split():
        old, new = weights(source, name), weights(made, name)
        ratio = np.log2(new / old)
        assert old.shape == new.shape
        assert (ratio != 0).any(), name
        np.testing.assert_array_equal(ratio, np.rint(ratio))
    assert {v.name for v in source.graph.initializers.values()} - {v.name for v in made.graph.initializers.values()}
    for seed in range(3):
        inputs = feed(source, seed)
        for run in (on_onnxruntime, oracle):
            truth, got = run(source, inputs), run(made, inputs)
            for key, expected in truth.items():
                np.testing.assert_array_equal(got[key], expected)


# What stands between two convolutions and must be left alone.
FIXED: dict[str, Callable[[], ir.Model]] = {
    "Clip": lambda: convs("r = Clip(c, low, high)", low=np.float32(0), high=np.float32(6)),
    "Sigmoid": lambda: convs("r = Sigmoid(c)"),
    "a constant added": lambda: convs("r = Add(c, one_more)", one_more=np.float32(1)),
    "a moving slope": lambda: convs("s = Neg(c) r = PRelu(c, s)"),
    "read by something else": lambda: convs("r = Relu(c) e = Exp(r) z = ReduceMean(e)"),
    "added to the input": lambda: convs("e = Conv(x, w0) s = Sigmoid(e) r = Add(c, s)", w0=(8, 3, 1, 1)),
    "added with spreading": lambda: convs("p = GlobalAveragePool(c) r = Add(c, p)"),
    "joined along another axis": lambda: convs("r = Concat<axis=2>(c, c)"),
    "joined with the input": lambda: convs("r = Concat<axis=1>(c, x)", w2=(5, 11, 1, 1)),
    "multiplied": lambda: convs("r = Mul(c, c)"),
    "mixed by a reshape": lambda: convs("r = Reshape(c, turned)", turned=i64(1, 8, 4, 16)),
    "where a pool tells places": lambda: convs("r, i = MaxPool<kernel_shape=[2,2]>(c) z = Cast<to=1>(i)"),
    "a graph output": lambda: network(
        "g (float[1,3,8,8] x) => (r, y) { [one] c = Conv(x, w1) r = Relu(c) [two] d = Conv(r, w2) y = Neg(d) }",
        w1=(8, 3, 1, 1),
        w2=(5, 8, 1, 1),
    ),
    "read in a subgraph": lambda: network(
        """g (float[1,3,8,8] x) => (float[1,5,8,8] y) {
             [one] c = Conv(x, w1)  r = Relu(c)  [two] d = Conv(r, w2)
             m = ReduceMax<keepdims=0>(x)  e = Cast<to=9>(m)
             z = If(e) <then_branch = a () => (float[1,1,8,8] t) { t = ReduceMean<axes=[1]>(r) },
                        else_branch = b () => (float[1,1,8,8] f) { f = ReduceMax<axes=[1]>(r) }>
             y = Add(d, z) }""",
        w1=(8, 3, 1, 1),
        w2=(5, 8, 1, 1),
    ),
    "weights that are computed": lambda: convs("r = Relu(c)  v = Neg(w0)  q = Conv(r, v)", w0=(5, 8, 1, 1)),
    "read by a transposed convolution": lambda: convs("r = Relu(c)  t = ConvTranspose(r, wt)", wt=(8, 2, 2, 2)),
}


@pytest.mark.parametrize("what", FIXED)
def test_what_does_not_keep_factors_is_left_alone(what: str) -> None:
    source = FIXED[what]()
    heard = spread(source)
    for known in (heard, {"c": heard["c"]}):
        made = equalize(source, known)
        for name in ("one", "two"):
            np.testing.assert_array_equal(weights(made, name), weights(source, name))
        assert not promising(source, known)
    inputs = feed(source)
    for key, expected in on_onnxruntime(source, inputs).items():
        np.testing.assert_array_equal(on_onnxruntime(made, inputs)[key], expected)


def test_a_bundle_knows_who_makes_and_reads_it() -> None:
    (stem, *_) = bundles(added())
    assert {n.name for n in stem.makers} == {"stem", "inner", "next"}
    assert {n.name: first for n, first in stem.readers} == {"inner": 0, "next": 0, "last": 0}
    found = {b.makers[0].name: b for b in bundles(joined())}
    assert [(n.name, first) for n, first in found["left"].readers] == [("all", 0), ("all", 9)]
    assert [(n.name, first) for n, first in found["right"].readers] == [("all", 4), ("part", 0)]
    assert ("j", 4) in found["right"].carriers


def test_channels_that_statistics_do_not_know_are_not_taken_for_others() -> None:
    """Of four axes the second is watched; a linear layer's channels lie in the last."""
    source = network(
        """g (float[1,8,3,4] x) => (float[1,8,3,2] y) {
             [one] c = MatMul(x, w1)  r = Relu(c)  [two] d = MatMul(r, w2)  y = Neg(d) }""",
        w1=(4, 5),
        w2=(5, 2),
    )
    heard = {name: np.exp2(np.arange(8)).astype(np.float32) for name in ("c", "r")}
    assert bundles(source)
    np.testing.assert_array_equal(weights(equalize(source, heard), "one"), weights(source, "one"))
    assert not promising(source, heard)


def test_unmeasured_values_and_dead_channels_are_left_alone() -> None:
    source = convs("r = Relu(c)")
    for measured in ({}, {"c": np.zeros(8, np.float32), "r": np.zeros(8, np.float32)}, {"r": np.ones(3, np.float32)}):
        np.testing.assert_array_equal(weights(equalize(source, measured), "one"), weights(source, "one"))
    heard = np.array([4, 0, 1, 1, 1, 1, 1, 0.001], np.float32)
    made = equalize(source, {"r": heard})
    factors = (weights(source, "one") / weights(made, "one"))[:, 0, 0, 0]
    assert factors[1] == factors.max() == 1
    assert factors[7] == 2.0**-6, "a channel that hardly speaks is not blown up without end"


def test_factors_are_smoothquants() -> None:
    """s_j = max|X_j|^(1/2) / max|W_j|^(1/2), rounded to a power of two, the largest 1."""
    source = convs("r = Relu(c)")
    heard = np.exp2(np.arange(8)).astype(np.float32)
    made = equalize(source, {"r": heard})
    factors = (weights(source, "one") / weights(made, "one"))[:, 0, 0, 0]
    wanted = np.sqrt(heard / np.abs(weights(source, "two")).max(axis=(0, 2, 3)))
    np.testing.assert_array_equal(np.log2(factors), np.rint(np.log2(wanted / wanted.max())))
    np.testing.assert_array_equal(weights(made, "one", 2) * factors, weights(source, "one", 2))
    np.testing.assert_array_equal(weights(made, "two") / factors.reshape(1, -1, 1, 1), weights(source, "two"))
