"""Sizes, axes and work of nodes, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT
from models import feed, i64, network, node, oracle, value


@pytest.fixture(scope="module")
def ops() -> object:
    return network(
        """g (float[N,6,8,8] x) => (float[N,7] y, float[N,5,6,6] d) {
             [conv] c = Conv<group=2, strides=[2,2], pads=[1,1,1,1]>(x, wc, bc)
             [up] t = ConvTranspose<group=2, strides=[2,2]>(c, wt)
             [flat] f = Flatten(c)
             [transposed] g1 = Gemm<transB=1>(f, wg)
             [plain] g2 = Gemm(g1, wp)
             [product] y = MatMul(g2, wm)
             [identity] d = Conv(x, wd) }""",
        wc=(10, 3, 3, 3),  # [O, I/g, kh, kw]
        bc=(10,),
        wt=(10, 3, 2, 2),  # [I, O/g, kh, kw]
        wg=(9, 160),
        wp=(9, 11),
        wm=(11, 7),
        wd=(5, 6, 3, 3),
    )


@pytest.mark.parametrize(
    ("name", "macs", "axis"),
    [
        ("conv", (10 * 4 * 4) * (3 * 3 * 3), 0),
        ("up", (10 * 4 * 4) * (3 * 2 * 2), 1),
        ("transposed", 160 * 9, 0),
        ("plain", 9 * 11, 1),
        ("product", 11 * 7, 1),
        ("identity", (5 * 6 * 6) * (6 * 3 * 3), 0),
    ],
)
def test_macs_and_weight_axes(ops, name: str, macs: int, axis: int) -> None:
    found = node(ops, name)
    assert queries.macs(found) == macs
    assert queries.weight_axis(found) == axis
    outputs = queries.group(found) * found.inputs[WEIGHT_INPUT].shape[axis]
    if found.op_type != "ConvTranspose":
        outputs //= queries.group(found)
    assert found.outputs[0].shape[1] == outputs


def test_macs_are_none_where_there_are_no_weights(ops) -> None:
    assert queries.macs(node(ops, "flat")) == 0


def test_a_batched_matmul_counts_every_row() -> None:
    model = network("g (float[1,12,16] x) => (float[1,12,5] y) { [m] y = MatMul(x, w) }", w=(16, 5))
    assert queries.macs(node(model, "m")) == 12 * 16 * 5


def test_sizes_of_one_sample(ops) -> None:
    assert queries.dims(value(ops, "x")) == (None, 6, 8, 8)
    assert queries.numel(value(ops, "x")) == 6 * 8 * 8
    assert queries.numel(value(ops, "c")) == 10 * 4 * 4
    value(ops, "t").shape = None
    assert queries.numel(value(ops, "t")) is None


def test_constants_are_initializers_and_constant_nodes() -> None:
    model = network("g (float[2] x) => (float[2] y) { y = Add(x, w) }", w=np.array([1, 2], np.float32))
    add = model.graph[0]
    assert queries.constant(add.inputs[1]).tolist() == [1, 2]
    assert queries.constant(add.inputs[0]) is None
    assert not queries.is_constant(add.inputs[0])
    assert queries.constant(None) is None


def test_weight_bytes_and_names() -> None:
    model = network("g (float[1,4] x) => (float[1,2] y) { a = MatMul(x, w)  y = Reshape(a, s) }", w=(4, 2), s=i64(1, 2))
    assert queries.weight_bytes(model) == 4 * 2 * 4 + 2 * 8
    model.graph[0].name = ""
    assert queries.node_name(model.graph[0]) == "a"


# Whether the last value is known to be 0 or more, whatever ``x`` is.
SIGNS = {
    "y = Relu(x)": True,
    "y = Sigmoid(x)": True,
    "y = HardSigmoid(x)": True,
    "y = Softmax(x)": True,
    "y = Exp(x)": True,
    "y = Abs(x)": True,
    "y = Clip(x, nought, six)": True,
    "y = Clip(x, six)": True,
    "y = Clip(x, minus, six)": False,
    "y = Clip(x, , six)": False,
    "y = Clip(x)": False,
    "y = Neg(x)": False,
    "y = Tanh(x)": False,
    "y = LeakyRelu(x)": False,
    "y = Conv(x, w)": False,
    "r = Relu(x) y = MaxPool<kernel_shape=[2,2]>(r)": True,
    "r = Relu(x) y = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(r)": True,
    "r = Relu(x) p = GlobalAveragePool(r) y = Flatten(p)": True,
    "r = Clip(x, nought, six) t = Transpose<perm=[0,1,3,2]>(r) y = Reshape(t, flat)": True,
    "r = Exp(x) y, z = Split<axis=1>(r, halves)": True,
    "r = Relu(x) y = Slice(r, start, end)": True,
    "r = Relu(x) i = Identity(r) y = ReduceMean<axes=[2,3]>(i)": True,
    "r = Relu(x) y = Conv(r, w)": False,
    "r = Relu(x) y = Neg(r)": False,
    "r = Relu(x) n = Neg(r) y = MaxPool<kernel_shape=[2,2]>(n)": False,
    "y = MaxPool<kernel_shape=[2,2]>(x)": False,
    "r = Relu(x) y = Add(r, x)": False,
    "r = Relu(x) y = Sub(r, six)": False,
    "r = Relu(x) y = Concat<axis=1>(r, x)": False,
    "r = Relu(x) y = Where(chosen, x, r)": False,
}


@pytest.mark.parametrize("text", SIGNS)
def test_what_is_never_negative(text: str) -> None:
    """Said of exactly those values that inputs of both signs do not drive below zero."""
    model = network(
        f"g (float[1,4,6,6] x) => (y) {{ {text} }}",
        w=(4, 4, 1, 1),
        nought=np.float32(0),
        minus=np.float32(-1),
        six=np.float32(6),
        flat=i64(1, -1),
        halves=i64(2, 2),
        start=i64(0, 1),
        end=i64(1, 3),
        chosen=np.array(True),
    )
    assert queries.never_negative(value(model, "y")) == SIGNS[text]
    lowest = min(float(oracle(model, feed(model, seed))["y"].min()) for seed in range(3))
    assert (lowest >= 0) == SIGNS[text]
    assert not queries.never_negative(value(model, "x"))
