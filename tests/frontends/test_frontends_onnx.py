"""ONNX files of all ages come up in one shape, and everything else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from fewbits.errors import ModelError
from fewbits.frontends import load
from models import check, feed, i64, oracle, proto


def old(opset: int) -> onnx.ModelProto:
    """As exporters wrote it then: weights among the inputs, no node names, sizes as attributes, broadcasting."""
    clip = "Clip<min=0.0, max=6.0>(n)" if opset < 11 else "Clip(n, low, high)"
    squeeze = "Squeeze<axes=[2,3]>(p)"
    weights = {
        "w": (6, 3, 3, 3),
        "b": (6,),
        "gamma": np.full(6, 1.5, np.float32),
        "beta": np.full(6, 0.5, np.float32),
        "mean": np.full(6, 0.1, np.float32),
        "var": np.full(6, 2.0, np.float32),
        "v": (4, 6),
        "k": (4,),
    }
    if opset >= 11:
        weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    model = proto(
        f"""g (float[1,3,8,8] x, float[6,3,3,3] w, float[6] b) => (float[1,4] y) {{
              c = Conv<pads=[1,1,1,1]>(x, w, b)
              n = BatchNormalization(c, gamma, beta, mean, var)
              r = {clip}
              m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
              p = GlobalAveragePool(m)
              s = {squeeze}
              g = Gemm<transB=1>(s, v, k)
              y = Softmax<axis=1>(g) }}""",
        opset,
        **weights,
    )
    model.ir_version = 3
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:  # up to IR version 3 every initializer is an input as well
        if tensor.name not in known:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for n in model.graph.node:
        n.name = ""
    return model


def expected(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """By hand: the evaluator's batch norm of these opsets is not that of any engine."""
    w = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    c = np.einsum("nchwij,ocij->nohw", windows, w["w"], dtype=np.float64) + w["b"].reshape(1, -1, 1, 1)
    n = 1.5 * (c - 0.1) / np.sqrt(2 + 1e-5) + 0.5
    m = np.clip(n, 0, 6).reshape(1, 6, 4, 2, 4, 2).max((3, 5))
    g = m.mean((2, 3)) @ w["v"].T + w["k"]
    e = np.exp(g - g.max())
    return e / e.sum()


@pytest.mark.parametrize("opset", [8, 9, 11])
def test_old_models_come_up_modern(tmp_path: Path, opset: int) -> None:
    source = old(opset)
    path = tmp_path / "old.onnx"
    path.write_bytes(source.SerializeToString())
    model = load(path)
    check(model)
    assert model.opset_imports[""] >= 17
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert [v.name for v in model.graph.outputs] == ["y"]
    names = [n.name for n in model.graph]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(v.shape is not None and v.dtype is not None for n in model.graph for v in n.outputs)
    x = feed(model)["x"]
    np.testing.assert_allclose(oracle(model, {"x": x})["y"], expected(source, x), rtol=1e-4, atol=1e-6)


def test_a_model_of_today_is_only_tidied(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    source = proto(
        """g (float[N,3] x) => (float[N,2] y) {
             s = Constant<value = int64[2] {-1, 3}>()
             [named] f = Reshape(x, s)
             m = MatMul(f, w)
             [named] y = Relu(m) }""",
        21,
        w=(3, 2),
    )
    path.write_bytes(source.SerializeToString())
    model = load(path)
    check(model)
    assert model.opset_imports[""] == 21
    assert [n.op_type for n in model.graph] == ["Reshape", "MatMul", "Relu"]
    assert model.graph[0].inputs[1].const_value.numpy().tolist() == [-1, 3]
    names = [n.name for n in model.graph]
    assert len(set(names)) == 3
    assert all(names)
    assert names[0] == "named"
    inputs = {"x": np.ones((2, 3), np.float32)}
    np.testing.assert_array_equal(oracle(model, inputs)["y"], oracle(source, inputs)["y"])


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.onnx", "no such file"),
        ("folder.onnx", "folder"),
        ("empty.onnx", "not an ONNX model"),
        ("text.onnx", "a Git LFS pointer"),
        ("page.onnx", "a web page"),
        ("picture.png", "no frontend reads '.png'"),
        ("nothing", "no frontend reads 'nothing'"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / name
    content = {
        "empty.onnx": b"",
        "text.onnx": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "page.onnx": b"<!DOCTYPE html><html><body>404</body></html>",
        "picture.png": b"\x89PNG",
        "nothing": b"",
    }
    if name == "folder.onnx":
        path.mkdir()
    elif name in content:
        path.write_bytes(content[name])
    assert says in str(refused(path))


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = old(9).SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in [*range(0, 200, 7), *range(200, len(whole) - 1, 97)]:
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("an unknown operator", "g (float[1] x) => (float[1] y) { y = Frobnicate(x) }"),
        ("an input that nobody makes", "g (float[1] x) => (float[1] y) { y = Relu(z) }"),
        ("too few inputs", "g (float[1] x) => (float[1] y) { y = Add(x) }"),
        ("an unknown attribute", "g (float[1] x) => (float[1] y) { y = Relu<depth=3>(x) }"),
        ("two makers of one value", "g (float[1] x) => (float[1] y) { y = Relu(x)  y = Neg(x) }"),
        ("a circle", "g (float[1] x) => (float[1] y) { a = Add(x, y)  y = Relu(a) }"),
    ],
)
@pytest.mark.parametrize("opset", [9, 17])
def test_invalid_models_are_refused(tmp_path: Path, fault: str, text: str, opset: int) -> None:
    path = tmp_path / "invalid.onnx"
    path.write_bytes(proto(text, opset).SerializeToString())
    refused(path)


def test_opsets_this_onnx_does_not_know_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "future.onnx"
    path.write_bytes(proto("g (float[1] x) => (float[1] y) { y = Relu(x) }", 999).SerializeToString())
    refused(path)


def test_flipped_bits_never_end_in_a_traceback(tmp_path: Path) -> None:
    whole = bytearray(old(9).SerializeToString())
    path = tmp_path / "flipped.onnx"
    rng = np.random.default_rng(5)
    for _ in range(150):
        damaged = whole.copy()
        # The graph's structure lies outside the weights; most of it in the first and last bytes.
        place = int(rng.integers(0, 400)) * int(rng.choice([1, -1]))
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert isinstance(load(path), ir.Model)
        except ModelError as error:
            assert "\n" not in str(error)


def test_reshape_and_shape_constants_become_initializers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto("g (float[2,3] x) => (float[3,2] y) { y = Reshape(x, s) }", s=i64(3, 2)).SerializeToString())
    assert load(path).graph.initializers["s"].const_value.numpy().tolist() == [3, 2]
