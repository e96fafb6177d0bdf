"""Transposes that cancel, activations that go back to their layer, and neighbours that become one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import applies, kinds, refuses

from fewbits.passes import simplify
from fewbits.passes.cancel_transposes import cancel_transposes
from fewbits.passes.raise_activation import raise_activation
from models import Array, check, f32, feed, i64, network, node, oracle

Weights = dict[str, Array | tuple[int, ...]]
TO_NHWC, TO_NCHW = "<perm=[0,2,3,1]>", "<perm=[0,3,1,2]>"
K: Weights = {
    "k": f32(1, -2, 3, 0.5),
    "plane": (5, 6, 4),
    "low": np.array(-0.5, np.float32),
    "slope": f32(0.1, 0.2, 0.3, 0.4),
}

CANCEL = {
    "one activation": (f"a = Transpose{TO_NHWC}(x)  b = Relu(a)  y = Transpose{TO_NCHW}(b)", ["Relu"]),
    "constants along the last axis": (
        f"a = Transpose{TO_NHWC}(x)  b = Mul(a, k)  c = Add(plane, b)  d = Clip(c, low)  y = Transpose{TO_NCHW}(d)",
        ["Mul", "Add", "Clip"],
    ),
    "a residual of two": (
        f"""a = Transpose{TO_NHWC}(x)  b = Relu(x)  c = Transpose{TO_NHWC}(b)  d = Add(a, c)
            y = Transpose{TO_NCHW}(d)""",
        ["Relu", "Add"],
    ),
    "branches that meet again": (
        f"a = Transpose{TO_NHWC}(x)  b = Relu(a)  c = Sigmoid(a)  d = Mul(b, c)  y = Transpose{TO_NCHW}(d)",
        ["Relu", "Sigmoid", "Mul"],
    ),
    "concat": (
        f"""a = Transpose{TO_NHWC}(x)  b = Sigmoid(x)  c = Transpose{TO_NHWC}(b)  d = Concat<axis=-1>(a, c)
            y = Transpose{TO_NCHW}(d)""",
        ["Sigmoid", "Concat"],
    ),
    "one reader outside": (
        f"""a = Transpose{TO_NHWC}(x)  b = Relu(a)  c = Transpose{TO_NCHW}(b)  s = Softmax<axis=3>(b)
            t = Transpose{TO_NCHW}(s)  y = Add(c, t)""",
        ["Relu", "Transpose", "Softmax", "Transpose", "Add"],
    ),
    "a mean over height and width": (
        f"a = Transpose{TO_NHWC}(x)  b = Relu(a)  y = ReduceMean<axes=[1,2], keepdims=0>(b)",
        ["Relu", "ReduceMean"],
    ),
    "a slope for each channel": (
        f"a = Transpose{TO_NHWC}(x)  b = PRelu(a, slope)  y = Transpose{TO_NCHW}(b)",
        ["PRelu"],
    ),
    "the input is the output": (f"a = Transpose{TO_NHWC}(x)  y = Transpose{TO_NCHW}(a)", ["Identity"]),
}


def used(text: str, weights: Weights) -> Weights:
    return {name: w for name, w in weights.items() if f"({name}," in text or f", {name})" in text}


@pytest.mark.parametrize("what", CANCEL)
def test_transposes_cancel(what: str) -> None:
    text, left = CANCEL[what]
    shape = "1,4" if "ReduceMean" in text else "1,C,H,W"
    model = network(f"g (float[1,4,5,6] x) => (float[{shape}] y) {{ {text} }}", **used(text, K))
    assert applies(cancel_transposes, model) == left
    refuses(cancel_transposes, model)


def test_a_value_that_is_an_output_as_well_is_transposed_once() -> None:
    model = network(
        f"""g (float[1,4,5,6] x) => (float[1,5,6,4] b, float[1,4,5,6] y) {{
              a = Transpose{TO_NHWC}(x)  b = Relu(a)  y = Transpose{TO_NCHW}(b) }}"""
    )
    assert sorted(applies(cancel_transposes, model)) == ["Relu", "Transpose"]


STAY = {
    "nothing undoes it": f"a = Transpose{TO_NHWC}(x)  y = Relu(a)",
    "the same way twice": f"a = Transpose{TO_NHWC}(x)  b = Relu(a)  y = Transpose{TO_NHWC}(b)",
    "an operand from elsewhere": f"a = Transpose{TO_NHWC}(x)  b = Add(a, z)  y = Transpose{TO_NCHW}(b)",
    "an operand with fewer axes": f"a = Transpose{TO_NHWC}(x)  b = Add(a, v)  y = Transpose{TO_NCHW}(b)",
    "an operator that knows its axes": f"a = Transpose{TO_NHWC}(x)  b = Softmax<axis=3>(a)  y = Transpose{TO_NCHW}(b)",
    "two exits for one entry": f"""a = Transpose{TO_NHWC}(x)  b = Relu(a)  c = Abs(a)  d = Softmax<axis=3>(b)
        e = Softmax<axis=3>(c)  f = Add(d, e)  y = Identity(f)""",
    "a mean that would change the order": f"""a = Transpose{TO_NHWC}(x)  b = Relu(a)
        y = ReduceMean<axes=[1], keepdims=0>(b)""",
}


@pytest.mark.parametrize("why", STAY)
def test_transposes_stay(why: str) -> None:
    inputs = "float[1,4,5,6] x" + {
        "an operand from elsewhere": ", float[1,5,6,4] z",
        "an operand with fewer axes": ", float[4] v",
    }.get(why, "")
    shape = "1,A,B" if "ReduceMean" in STAY[why] else "1,A,B,C"
    refuses(cancel_transposes, network(f"g ({inputs}) => (float[{shape}] y) {{ {STAY[why]} }}"))


@given(
    st.permutations(range(4)),
    st.lists(st.sampled_from(["Relu", "Mul", "Add", "twice", "Concat"]), max_size=4),
    st.booleans(),
)
def test_any_permutation_there_and_back(perm: list[int], steps: list[str], read_outside: bool) -> None:
    back = [int(i) for i in np.argsort(perm)]
    sizes = [int((2, 3, 4, 5)[i]) for i in perm]
    lines, value, weights = [f"t = Transpose<perm={list(perm)}>(x)"], "t", {}
    for index, op in enumerate(steps):
        weights[f"k{index}"] = np.random.default_rng(index).normal(size=sizes[-2:]).astype(np.float32)
        match op:
            case "Relu":
                right = f"Relu({value})"
            case "twice":
                right = f"Add({value}, t)" if "Concat" not in steps[:index] else f"Abs({value})"
            case "Concat":
                right = f"Concat<axis=0>({value}, {value})"
            case _:
                right = f"{op}(k{index}, {value})"
        if op not in ("Mul", "Add"):
            del weights[f"k{index}"]
        lines.append(f"v{index} = {right}")
        value = f"v{index}"
    lines.append(f"y = Transpose<perm={back}>({value})")
    outputs = "float[A,B,C,D] y"
    if read_outside:
        lines.append(f"z = CumSum({value}, axis)")
        weights["axis"] = np.array(1, np.int64)
        outputs += ", float[E,F,G,H] z"
    model = network(f"g (float[2,3,4,5] x) => ({outputs}) {{ {' '.join(lines)} }}", **weights)
    x = {"x": np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)}
    before = oracle(model, x)
    count = kinds(model).count("Transpose")
    if cancel_transposes(model):
        check(model)
        assert kinds(model).count("Transpose") < count
    for name, array in oracle(model, x).items():
        np.testing.assert_array_equal(array, before[name])


RAISE = {
    "transpose": ("c = Conv(x, w)  t = Transpose(c)  y = Relu(t)", ["Conv", "Relu", "Transpose"]),
    "pooling": (
        "c = Conv(x, w)  p = MaxPool<kernel_shape=[2,2], pads=[1,1,1,1]>(c)  y = Clip(p, low, high)",
        ["Conv", "Clip", "MaxPool"],
    ),
    "several": (
        "c = Conv(x, w)  f = Flatten(c)  u = Unsqueeze(f, one)  y = Relu(u)",
        ["Conv", "Relu", "Flatten", "Unsqueeze"],
    ),
    "behind a bias": (
        "f = Flatten(x)  m = MatMul(f, v)  a = Add(m, b)  r = Reshape(a, rows)  y = Relu(r)",
        ["Flatten", "MatMul", "Add", "Relu", "Reshape"],
    ),
}
PARTS: Weights = {
    "w": (6, 4, 3, 3),
    "v": (144, 6),
    "b": (6,),
    "rows": i64(3, 2),
    "one": i64(1),
    "low": np.array(-0.1, np.float32),
    "high": np.array(0.7, np.float32),
}


def parts(text: str) -> Weights:
    return {name: w for name, w in PARTS.items() if f" {name})" in text or f" {name}," in text}


@pytest.mark.parametrize("what", RAISE)
def test_activations_go_back_to_their_layer(what: str) -> None:
    text, left = RAISE[what]
    shape = {"several": "1,A,B", "behind a bias": "3,2"}.get(what, "A,B,C,D")
    model = network(f"g (float[1,4,6,6] x) => (float[{shape}] y) {{ {text} }}", **parts(text))
    assert applies(raise_activation, model) == left
    refuses(raise_activation, model)


@pytest.mark.parametrize(
    "text",
    [
        "(float[1,6,4,4] y) { c = Conv(x, w)  y = Relu(c) }",
        "(float[A,B,C,D] y) { c = Conv(x, w)  t = Transpose(c)  r = Relu(t)  y = Mul(r, t) }",
        "(float[A,B,C,D] t, float[A,B,C,D] y) { c = Conv(x, w)  t = Transpose(c)  y = Relu(t) }",
        "(float[A,B,C,D] y) { c = Conv(x, w)  t = Transpose(c)  y = LeakyRelu(t) }",
        "(float[A,B,C,D] y) { c = Abs(x)  t = Transpose(c)  y = Relu(t) }",
        "(float[A,B,C,D] y, int64[A,B,C,D] i) { c = Conv(x, w)  t, i = MaxPool<kernel_shape=[2,2]>(c)  y = Relu(t) }",
        "(float[A,B,C,D] y) { s = ReduceMax<keepdims=0>(x)  c = Conv(x, w)  t = Transpose(c)  y = Clip(t, s) }",
    ],
)
def test_activations_stay(text: str) -> None:
    refuses(raise_activation, network(f"g (float[1,4,6,6] x) => {text}", **parts(text)))


def test_the_pipeline_takes_a_channels_last_network_apart() -> None:
    """As exporters of channels-last networks write it: every layer between two transposes, scales spelled out."""
    model = network(
        f"""g (float[1,8,8,3] x) => (float[1,5] y) {{
              n = Div(x, range)  m = Sub(n, half)
              a = Transpose{TO_NCHW}(m)  p = Pad(a, pads)  [conv1] b = Conv(p, w1)
              c = Transpose{TO_NHWC}(b)  d = Mul(c, k)  e = Add(d, k)  f = Relu(e)
              g1 = Transpose{TO_NCHW}(f)  [conv2] h = Conv(g1, w2)
              i = Transpose{TO_NHWC}(h)  j = Add(i, f)  o = Dropout(j)  q = Identity(o)
              r = ReduceMean<axes=[1,2], keepdims=0>(q)
              [fc1] s = MatMul(r, w3)  [fc2] y = MatMul(s, w4) }}""",
        range=f32(2),
        half=f32(0.5),
        pads=i64(0, 0, 1, 1, 0, 0, 1, 1),
        w1=(4, 3, 3, 3),
        k=f32(1, -2, 3, 0.5),
        w2=(4, 4, 1, 1),
        w3=(4, 9),
        w4=(9, 5),
    )
    assert len(model.graph) == 18
    simple = simplify(model)
    check(simple)
    x = feed(model)
    np.testing.assert_allclose(oracle(simple, x)["y"], oracle(model, x)["y"], rtol=1e-5, atol=1e-5)
    assert {"conv1", "conv2", "fc2"} <= {n.name for n in simple.graph}
    assert kinds(simple) == ["Div", "Sub", "Transpose", "Conv", "Relu", "Conv", "Add", "ReduceMean", "MatMul"]


NEIGHBOURS: dict[str, tuple[str, list[str]]] = {
    "a pad": ("p = Pad(x, pads)  [c] y = Conv(p, w)", ["Conv"]),
    "identity and dropout": ("i = Identity(x)  d = Dropout(i)  [c] y = Conv(d, w)", ["Conv"]),
    "constants": ("[s] v = Mul(w, two)  [c] y = Conv(x, v)", ["Conv"]),
    "scales in sequence": ("a = Relu(x)  b = Relu(a)  [c] y = Conv(b, w)", ["Relu", "Conv"]),
}


@pytest.mark.parametrize("what", NEIGHBOURS)
def test_constants_and_neighbours_become_one(what: str) -> None:
    text, left = NEIGHBOURS[what]
    weights: Weights = {"w": (6, 4, 3, 3), "two": f32(2)}
    if what == "a pad":
        weights["pads"] = i64(0, 0, 1, 2, 0, 0, 0, 1)
    used_here = {n: w for n, w in weights.items() if f" {n})" in text or f"({n}," in text}
    model = network(f"g (float[1,4,6,6] x) => (float[1,6,H,W] y) {{ {text} }}", **used_here)
    simple = simplify(model)
    assert kinds(simple) == left
    assert node(simple, "c")
    x = {"x": np.random.default_rng(4).normal(size=(1, 4, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(oracle(simple, x)["y"], oracle(model, x)["y"], rtol=1e-5, atol=1e-5)
