"""Real models through the OpenVINO door: what comes out computes what went in, under the same names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from openvino_nets import by_openvino

from fewbits.engines import ENGINES
from fewbits.engines.base import Options
from fewbits.frontends.onnx import load as load_onnx
from fewbits.frontends.openvino import load
from fewbits.libraries import openvino
from models import check, on_onnxruntime

MODELS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets")) / "models"
ONNX = sorted(path.stem for path in MODELS.glob("onnx/*.onnx"))
pytestmark = pytest.mark.skipif(not ONNX, reason=f"no real models in {MODELS}: set FEWBITS_ASSETS")

OTHERS = {
    "openvino/samplenet.xml": ("data", "fc3"),
    "tensorflow/ds_cnn_s_kws.pb": ("mfcc:0", "labels_softmax:0"),
    "tensorflow/samplenet.pb": ("data:0", "add_4:0"),
    "tensorflow/samplenet_tf2": ("conv2d_9_input", "dense_12"),
    "tflite/kwt1.tflite": ("input_1", "sequential_12/dense_73/BiasAdd"),
    "tflite/mbnet128_0.25_f.tflite": ("input_3", "predictions/Softmax"),
}


def numbers(model: ir.Model, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for value in model.graph.inputs:
        shape = [size if isinstance(size, int) else 2 for size in value.shape or ()]
        whole = value.dtype == ir.DataType.UINT8
        drawn = rng.integers(0, 256, shape) if whole else rng.normal(0, 0.3, shape)
        made[value.name or ""] = drawn.astype(np.uint8 if whole else np.float32)
    return made


def deviation(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """The largest difference, as a share of the largest number."""
    assert list(ours) == list(theirs)
    shares = []
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape
        difference = np.abs(ours[name].astype(np.float64) - expected)
        shares.append(difference.max() / np.abs(expected).max())
    return float(max(shares))


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.parametrize("converted", [False, True], ids=["as read", "as ovc writes it"])
def test_onnx_to_ir_and_back(tmp_path: Path, name: str, converted: bool) -> None:
    source = MODELS / "onnx" / f"{name}.onnx"
    library = openvino()
    path = tmp_path / f"{name}.xml"
    if converted:
        library.save_model(library.convert_model(str(source)), str(path), compress_to_fp16=False)
    else:
        library.serialize(library.Core().read_model(str(source)), str(path))
    model, original = load(path), load_onnx(source)
    check(model)
    for ours, theirs in zip(
        (*model.graph.inputs, *model.graph.outputs), (*original.graph.inputs, *original.graph.outputs), strict=True
    ):
        assert ours.name == theirs.name
        assert str(ours.shape) == str(theirs.shape)
    feeds = numbers(model)
    assert deviation(on_onnxruntime(model, feeds), on_onnxruntime(original, feeds)) < 1e-5
    # A Gemm is a MatMul, a Mul and an Add there; nothing else may grow.
    gemms = sum(1 for node in original.graph if node.op_type == "Gemm")
    assert len(model.graph) <= len(original.graph) + 2 * gemms + 4


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_compute_what_openvino_computes(name: str) -> None:
    path = MODELS / name
    model = load(path)
    check(model)
    assert (model.graph.inputs[0].name, model.graph.outputs[0].name) == OTHERS[name]
    feeds = numbers(model)
    assert deviation(on_onnxruntime(model, feeds), by_openvino(path, feeds)) < 2e-5
    again = load(path)
    assert [n.name for n in again.graph] == [n.name for n in model.graph]


def test_a_quantized_model_stays_quantized() -> None:
    path = MODELS / "tflite/mobilenet_v1_0.5_160_quant.tflite"
    model = load(path)
    check(model)
    assert model.graph.inputs[0].dtype == model.graph.outputs[0].dtype == ir.DataType.UINT8
    integers = [
        node.inputs[0].const_value
        for node in model.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].const_value is not None
    ]
    assert len(integers) == 28  # every convolution's weights
    assert sum(1 for node in model.graph if node.op_type == "Cast") == 0
    feeds = numbers(model)
    name = "MobilenetV1/Predictions/Reshape_1"
    theirs = by_openvino(path, feeds)[name]
    ours = ENGINES["openvino"].compile(model, Options()).run(feeds)[name]
    assert ours.dtype == theirs.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    # Another engine's ties fall to other sides, layer by layer; what is seen stays the same.
    assert on_onnxruntime(model, feeds)[name].argmax() == theirs.argmax()


def test_half_precision_files_come_up_in_full(tmp_path: Path) -> None:
    library = openvino()
    path = tmp_path / "half.xml"
    library.save_model(
        library.convert_model(str(MODELS / "onnx/resnet20_cifar10.onnx")), str(path), compress_to_fp16=True
    )
    model = load(path)
    kinds = {value.const_value.dtype for value in model.graph.initializers.values() if value.const_value is not None}
    assert ir.DataType.FLOAT16 not in kinds
    assert not any(node.op_type == "Cast" for node in model.graph)
    feeds = numbers(model)
    assert deviation(on_onnxruntime(model, feeds), by_openvino(path, feeds)) < 1e-5
