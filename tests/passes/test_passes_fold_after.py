"""A folded batch norm computes what the pair computed; where folding would change anything it stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.passes import simplify
from fewbits.passes.fold_after import fold_after
from models import Array, check, f32, feed, network, node, on_onnxruntime, oracle


def norm(channels: int) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {
        "gamma": rng.normal(1, 0.5, channels).astype(np.float32),
        "beta": rng.normal(0, 1, channels).astype(np.float32),
        "mean": rng.normal(0, 1, channels).astype(np.float32),
        "var": rng.uniform(0.1, 3, channels).astype(np.float32),
    }


LINEAR = {
    "conv": ("Conv(x, w)", {"w": (6, 4, 3, 3)}, 6),
    "conv with bias": ("Conv<strides=[2,2]>(x, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}, 6),
    "grouped conv": ("Conv<group=2>(x, w, b)", {"w": (6, 2, 3, 3), "b": (6,)}, 6),
    "depthwise conv": ("Conv<group=4>(x, w)", {"w": (4, 1, 3, 3)}, 4),
    "transposed conv": ("ConvTranspose<strides=[2,2]>(x, w, b)", {"w": (4, 6, 2, 2), "b": (6,)}, 6),
    "transposed conv, no bias": ("ConvTranspose(x, w)", {"w": (4, 6, 2, 2)}, 6),
    "gemm": ("Gemm(f, w, b)", {"w": (64, 5), "b": (5,)}, 5),
    "gemm, transposed": ("Gemm<transB=1>(f, w)", {"w": (5, 64)}, 5),
    "gemm, bias in a row": ("Gemm<transB=1>(f, w, b)", {"w": (5, 64), "b": np.ones((1, 5), np.float32) * 0.7}, 5),
    "gemm, one bias for all": ("Gemm<transB=1>(f, w, b)", {"w": (5, 64), "b": f32(0.7)}, 5),
    "gemm, scalar bias": ("Gemm<transB=1>(f, w, b)", {"w": (5, 64), "b": np.array(0.7, np.float32)}, 5),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_folding_keeps_the_result_and_the_names(kind: str) -> None:
    text, weights, channels = LINEAR[kind]
    flat = "f = Flatten(x)" if "Gemm" in text else ""
    shape = "float[1,C]" if flat else "float[1,C,H,W]"
    model = network(
        f"""g (float[1,4,4,4] x) => ({shape} y) {{
              {flat}
              [linear] c = {text}
              [norm] n = BatchNormalization<epsilon=0.001>(c, gamma, beta, mean, var)
              [behind] y = Abs(n) }}""",
        **weights,
        **norm(channels),
    )
    inputs = feed(model)
    before = oracle(model, inputs)["y"]
    fold_after(model)
    check(model)
    assert [n.name for n in model.graph if n.op_type != "Flatten"] == ["linear", "behind"]
    assert node(model, "linear").outputs[0].name == "n"
    assert model.graph.outputs[0].name == "y"
    np.testing.assert_allclose(oracle(model, inputs)["y"], before, rtol=1e-5, atol=1e-5)
    assert np.abs(before).max() > 0.1


def test_a_batch_norm_that_is_the_model_output_folds_under_its_name() -> None:
    model = network(
        """g (float[1,4,4,4] x) => (float[1,6,2,2] y) {
             c = Conv(x, w)  y = BatchNormalization(c, gamma, beta, mean, var) }""",
        w=(6, 4, 3, 3),
        **norm(6),
    )
    inputs = feed(model)
    before = oracle(model, inputs)["y"]
    fold_after(model)
    check(model)
    assert [n.op_type for n in model.graph] == ["Conv"]
    np.testing.assert_allclose(oracle(model, inputs)["y"], before, rtol=1e-5, atol=1e-5)


def test_weights_shared_by_two_convolutions_are_folded_for_one_alone() -> None:
    model = network(
        """g (float[1,4,4,4] x) => (float[1,6,2,2] y, float[1,6,2,2] z) {
             c = Conv(x, w)  y = BatchNormalization(c, gamma, beta, mean, var)  z = Conv(x, w) }""",
        w=(6, 4, 3, 3),
        **norm(6),
    )
    inputs = feed(model)
    before = oracle(model, inputs)
    fold_after(model)
    after = oracle(model, inputs)
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(after["z"], before["z"])


REFUSED = {
    "a second reader": """g (float[1,4,4,4] x) => (float[1,6,2,2] y) {
        c = Conv(x, w)  n = BatchNormalization(c, gamma, beta, mean, var)  y = Add(n, c) }""",
    "a model output between": """g (float[1,4,4,4] x) => (float[1,6,2,2] c, float[1,6,2,2] y) {
        c = Conv(x, w)  y = BatchNormalization(c, gamma, beta, mean, var) }""",
    "a parameter that moves": """g (float[1,4,4,4] x, float[6] scale) => (float[1,6,2,2] y) {
        c = Conv(x, w)  y = BatchNormalization(c, scale, beta, mean, var) }""",
    "weights that move": """g (float[1,4,4,4] x, float[6,4,3,3] v) => (float[1,6,2,2] y) {
        c = Conv(x, v)  y = BatchNormalization(c, gamma, beta, mean, var) }""",
    "a bias that moves": """g (float[1,4,4,4] x, float[6] v) => (float[1,6,2,2] y) {
        c = Conv(x, w, v)  y = BatchNormalization(c, gamma, beta, mean, var) }""",
    "training": """g (float[1,4,4,4] x) => (float[1,6,2,2] y) {
        c = Conv(x, w)  y, m2, v2 = BatchNormalization<training_mode=1>(c, gamma, beta, mean, var) }""",
    "an activation between": """g (float[1,4,4,4] x) => (float[1,6,2,2] y) {
        c = Conv(x, w)  r = Relu(c)  y = BatchNormalization(r, gamma, beta, mean, var) }""",
}


@pytest.mark.parametrize("why", REFUSED)
def test_it_refuses(why: str) -> None:
    model = network(REFUSED[why], w=(6, 4, 3, 3), **norm(6))
    before = ir.to_proto(model).SerializeToString()
    fold_after(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_grouped_transposed_convolutions_and_scaled_gemms_keep_their_batch_norm() -> None:
    model = network(
        """g (float[1,4,4,4] x) => (float[1,6,5,5] y, float[1,6] z) {
             c = ConvTranspose<group=2>(x, w)  y = BatchNormalization(c, gamma, beta, mean, var)
             f = Flatten(x)  m = Gemm<alpha=0.5>(f, v)  z = BatchNormalization(m, gamma, beta, mean, var) }""",
        w=(4, 3, 2, 2),
        v=(64, 6),
        **norm(6),
    )
    inputs = feed(model)
    before = on_onnxruntime(model, inputs)
    fold_after(model)
    for name, array in on_onnxruntime(model, inputs).items():
        np.testing.assert_allclose(array, before[name], rtol=1e-5, atol=1e-5)


def test_simplify_leaves_its_input_and_the_result_as_they_were() -> None:
    model = network(
        """g (float[1,4,6,6] x) => (float[1,6] y) {
             [pad] p = Pad(x, pads)
             [conv] c = Conv(p, w)
             [norm] n = BatchNormalization(c, gamma, beta, mean, var)
             [relu1] r = Relu(n)
             [relu2] q = Relu(r)
             [same] s = Identity(q)
             [drop] d = Dropout(s)
             [gap] g = GlobalAveragePool(d)
             [half] h = Mul(one, two)
             [scale] k = Mul(g, h)
             [flat] y = Flatten(k)
             [dead] z = Exp(x) }""",
        w=(6, 4, 3, 3),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        one=f32(0.5),
        two=f32(3),
        **norm(6),
    )
    before = ir.to_proto(model).SerializeToString()
    inputs = feed(model)
    simple = simplify(model)
    check(simple)
    assert ir.to_proto(model).SerializeToString() == before
    kinds = [n.op_type for n in simple.graph]
    assert kinds[:4] == ["Conv", "Relu", "GlobalAveragePool", "Mul"]
    assert kinds[4:] in (["Flatten"], ["Reshape"])
    assert [v.name for v in simple.graph.inputs] == ["x"]
    assert [v.name for v in simple.graph.outputs] == ["y"]
    assert {"conv", "gap", "scale"} <= {n.name for n in simple.graph}
    np.testing.assert_allclose(oracle(simple, inputs)["y"], oracle(model, inputs)["y"], rtol=1e-5, atol=1e-6)
