"""What fewbits writes as an IR of 2019, read again: the same numbers, names and weights, statistics to six decimals."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from fewbits.errors import ModelError
from fewbits.frontends import legacy_ir
from fewbits.frontends.legacy_ir import document
from fewbits.frontends.legacy_ir.write import VERSIONS, save
from fewbits.graph import qdq, queries
from models import NETWORKS, Array, check, f32, feed, i64, network, node, on_onnxruntime


def read_again(model: ir.Model, folder: Path, version: int = 6) -> ir.Model:
    path = folder / "out.xml"
    save(model, path, version=version)
    back = legacy_ir.load(path)
    check(back)
    return back


def assert_same(model: ir.Model, back: ir.Model, seed: int = 0) -> None:
    feeds = feed(model, seed)
    expected, found = on_onnxruntime(model, feeds), on_onnxruntime(back, feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=list(NETWORKS))
def test_whole_networks(make: Callable[[], ir.Model], version: int, tmp_path: Path) -> None:
    model = make()
    back = read_again(model, tmp_path, version)
    assert_same(model, back)
    assert [value.name for value in back.graph.inputs] == [value.name for value in model.graph.inputs]
    assert back.meta["frontend"] == f"OpenVINO IR v{version}"


def test_weights_are_exactly_the_same(tmp_path: Path) -> None:
    model = NETWORKS["residual"]()
    back = read_again(model, tmp_path)
    for name in ("conv1", "conv2", "conv3", "stem"):
        for index in (1, 2):
            written, found = (queries.constant(node(m, name).inputs[index]) for m in (model, back))
            assert written is not None
            np.testing.assert_array_equal(found, written)


IMAGE = "float[1,4,6,6] x"
OPERATORS: dict[str, tuple[str, dict[str, Array | tuple[int, ...]]]] = {
    "Conv": ("Conv<strides=[2,1], dilations=[1,2], pads=[1,0,0,2], group=2>(x, w, b)", {"w": (6, 2, 3, 3), "b": (6,)}),
    "Conv same": ('Conv<auto_pad="SAME_LOWER", strides=[2,2]>(x, w)', {"w": (3, 4, 3, 3)}),
    "ConvTranspose": (
        "ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,0]>(x, w, b)",
        {"w": (4, 3, 3, 3), "b": (3,)},
    ),
    "MatMul of two": ("MatMul(x, x)", {}),
    "MaxPool": ("MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", {}),
    "AveragePool": ("AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", {}),
    "AveragePool without": ("AveragePool<kernel_shape=[2,3], pads=[1,1,0,1], strides=[2,2]>(x)", {}),
    "GlobalAveragePool": ("GlobalAveragePool(x)", {}),
    "GlobalMaxPool": ("GlobalMaxPool(x)", {}),
    "ReduceMean": ("ReduceMean<axes=[2,3], keepdims=0>(x)", {}),
    "ReduceMean kept": ("ReduceMean<axes=[-1,-2], keepdims=1>(x)", {}),
    "Relu": ("Relu(x)", {}),
    "LeakyRelu": ("LeakyRelu<alpha=0.3>(x)", {}),
    "PRelu": ("PRelu(x, s)", {"s": (4, 1, 1)}),
    "PRelu shared": ("PRelu(x, s)", {"s": f32(0.3)}),
    "Elu": ("Elu<alpha=0.5>(x)", {}),
    "Clip": ("Clip(x, low, high)", {"low": np.float32(-0.1), "high": np.float32(1.5)}),
    "Clip below": ("Clip(x, low)", {"low": np.float32(0.1)}),
    "Sigmoid": ("Sigmoid(x)", {}),
    "Tanh": ("Tanh(x)", {}),
    "Exp": ("Exp(x)", {}),
    "HardSigmoid": ("HardSigmoid<alpha=0.3, beta=0.4>(x)", {}),
    "HardSwish": ("HardSwish(x)", {}),
    "Neg": ("Neg(x)", {}),
    "Pow": ("Pow(x, p)", {"p": np.float32(2)}),
    "Add a number": ("Add(x, c)", {"c": np.float32(0.1)}),
    "Add by channel": ("Add(c, x)", {"c": (4, 1, 1)}),
    "Add an image": ("Add(x, c)", {"c": (4, 6, 6)}),
    "Add along the last axis": ("Add(x, c)", {"c": (6,)}),
    "Add that grows": ("Add(x, c)", {"c": (2, 4, 6, 6)}),
    "Sub": ("Sub(x, c)", {"c": (1, 4, 1, 1)}),
    "Sub from": ("Sub(c, x)", {"c": (1, 4, 1, 1)}),
    "Mul": ("Mul(x, c)", {"c": (4, 1, 1)}),
    "Div": ("Div(x, c)", {"c": f32(3)}),
    "Max": ("Max(x, c)", {"c": f32(0.2)}),
    "Sum": ("Sum(x, x, x)", {}),
    "BatchNormalization": (
        "BatchNormalization<epsilon=0.01>(x, g, b, m, v)",
        {"g": (4,), "b": (4,), "m": (4,), "v": f32(0.5, 1, 2, 3)},
    ),
    "LRN": ("LRN<size=3, alpha=0.1, beta=0.6, bias=2.0>(x)", {}),
    "Softmax": ("Softmax<axis=-3>(x)", {}),
    "Concat": ("Concat<axis=-3>(x, x)", {}),
    "Reshape": ("Reshape(x, s)", {"s": i64(0, -1, 9)}),
    "Flatten": ("Flatten(x)", {}),
    "Flatten later": ("Flatten<axis=2>(x)", {}),
    "Unsqueeze": ("Unsqueeze(x, a)", {"a": i64(1)}),
    "Transpose": ("Transpose<perm=[0,3,1,2]>(x)", {}),
    "Slice": ("Slice(x, s, e, a)", {"s": i64(1, -3), "e": i64(3, 100), "a": i64(1, 2)}),
    "Slice with steps": ("Slice(x, s, e, a, p)", {"s": i64(1, 0), "e": i64(6, 6), "a": i64(2, 3), "p": i64(2, 3)}),
    "Pad": ('Pad<mode="constant">(x, p, v)', {"p": i64(0, 0, 1, 2, 0, 1, 0, 1), "v": np.float32(0.5)}),
    "Pad mirrored": ('Pad<mode="reflect">(x, p)', {"p": i64(0, 0, 1, 2, 0, 0, 0, 1)}),
    "DepthToSpace": ("DepthToSpace<blocksize=2>(x)", {}),
    "Resize nearest": (
        'Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s)',
        {"s": f32(1, 1, 2, 3)},
    ),
    "Resize linear": ('Resize<mode="linear">(x, , s)', {"s": f32(1, 1, 2, 2)}),
    "Resize corners": (
        'Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , s)',
        {"s": f32(1, 1, 1.5, 2)},
    ),
}


def single(call: str, weights: dict[str, Array | tuple[int, ...]]) -> ir.Model:
    """A network of one operator, its output sized by inference."""
    model = network(f"g ({IMAGE}) => (float y) {{ [op] y = {call} }}", **weights)
    model.graph.outputs[0].shape = None
    ShapeInferencePass()(model)
    return model


@pytest.mark.parametrize("version", [5, 7])
@pytest.mark.parametrize("case", OPERATORS)
def test_operator(case: str, version: int, tmp_path: Path) -> None:
    call, weights = OPERATORS[case]
    model = single(call, weights)
    back = read_again(model, tmp_path, version)
    assert_same(model, back)
    assert all(
        queries.dims(value) == queries.dims(again)
        for value, again in zip(model.graph.outputs, back.graph.outputs, strict=True)
    )


@pytest.mark.parametrize("trans", [0, 1])
def test_gemm_with_factors(trans: int, tmp_path: Path) -> None:
    shape = (5, 7) if trans else (7, 5)
    text = f"g (float[1,7] x) => (float[1,5] y) {{ [fc] y = Gemm<alpha=0.5, beta=2.0, transB={trans}>(x, w, b) }}"
    model = network(text, w=shape, b=(5,))
    assert_same(model, read_again(model, tmp_path))


def test_parts_of_unequal_size(tmp_path: Path) -> None:
    model = network(
        """g (float[1,5,2,2] x) => (float[1,1,2,2] a, float[1,4,2,2] y) {
             [parts] a, b = Split<axis=1>(x, sizes)
             [relu] y = Relu(b) }""",
        sizes=i64(1, 4),
    )
    assert_same(model, read_again(model, tmp_path))


def test_an_output_that_is_also_read(tmp_path: Path) -> None:
    """In an IR of 2019 only what nobody reads is an output."""
    model = network(
        """g (float[1,3] x) => (float[1,3] early, float[1,3] late) {
             [one] early = Sigmoid(x)
             [two] late = Relu(early) }"""
    )
    back = read_again(model, tmp_path)
    assert_same(model, back)


def test_names_that_collide_or_cannot_be_in_xml(tmp_path: Path) -> None:
    model = network(
        """g (float[1,3] x) => (float[1,3] y) {
             [x] a = Sigmoid(x)
             [y] b = Tanh(a)
             [last] y = Relu(b) }"""
    )
    node(model, "last").name = "a\x01<&>\"'ü"
    b = node(model, "y")
    b.name = "tanh\x02 <&>\"' ü"
    back = read_again(model, tmp_path)
    assert_same(model, back)
    assert [n.name for n in back.graph] == ["x_", "tanh_ <&>\"' ü", "y"]


EXTREMES = {
    "x": (f32(-1.2345612, 0), f32(1e-7, 3.5)),
    "r": (f32(0, 0), f32(0.1, 123456.789)),
}


def calibrated(folder: Path) -> Path:
    model = network(
        """g (float[1,2,4,4] x) => (float[1,3,4,4] y) {
             [first] r = Relu(x)
             [conv] y = Conv(r, w) }""",
        w=(3, 2, 1, 1),
    )
    path = folder / "out.xml"
    save(model, path, version=6, integer=("conv",), extremes=EXTREMES)
    return path


def test_statistics_are_written_as_the_tool_of_2019_did(tmp_path: Path) -> None:
    root = ET.parse(calibrated(tmp_path)).getroot()
    assert root[-1].tag == "statistics"
    texts = [[part.text for part in layer] for layer in root[-1]]
    assert texts == [
        ["x", "-1.234561, 0.000000", "0.000000, 3.500000"],
        ["first", "0.000000, 0.000000", "0.100000, 123456.789062"],
    ]
    levels = {layer.get("name"): layer[0].get("quantization_level") for layer in root[0]}
    assert levels == {"x": None, "first": "FP32", "y": "I8"}
    assert root.attrib == {"name": "g", "version": "6", "batch": "1"}


def test_statistics_and_levels_are_read_again(tmp_path: Path) -> None:
    path = calibrated(tmp_path)
    found = document.read(path).statistics
    assert found["x"].minimum == (-1.234561, 0.0)
    assert found["first"].maximum == (0.1, 123456.789062)
    model = legacy_ir.load(path)
    [(scale, zero)] = qdq.quantized_values(model).values()
    assert scale == np.float32(123456.789062 / 255)
    assert zero.dtype == np.uint8


def test_weights_in_the_bin_are_fp32(tmp_path: Path) -> None:
    path = calibrated(tmp_path)
    assert path.with_suffix(".bin").stat().st_size == 3 * 2 * 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("Erf(x)", "node op (Erf)"),
        ("Conv<dilations=[2,2], pads=[-1,0,0,0]>(x, w)", "negative padding"),
        ("MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", "dilations"),
        ("ReduceMean<axes=[1]>(x)", "a mean over axes [1] of 4"),
        ("Slice(x, s, e, a, p)", "a step backwards"),
        ('Resize<mode="cubic">(x, , scales)', "cubic resizing"),
    ],
)
def test_what_no_layer_of_2019_says_is_refused(call: str, words: str, tmp_path: Path) -> None:
    constants: dict[str, Array | tuple[int, ...]] = {
        "w": (2, 4, 2, 2),
        "s": i64(5),
        "e": i64(0),
        "a": i64(2),
        "p": i64(-1),
    }
    used = {name: c for name, c in (constants | {"scales": f32(1, 1, 2, 2)}).items() if f" {name}" in call}
    model = single(call, used)
    with pytest.raises(ModelError) as caught:
        save(model, tmp_path / "out.xml")
    assert words in str(caught.value)
    assert "node op" in str(caught.value)
    assert "without --ir-version" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_versions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="IR version 10"):
        save(NETWORKS["perceptron"](), tmp_path / "out.xml", version=10)
