"""The example is what its README says: a small real network, honest splits, the stated accuracy."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

from fewbits import example

README = (Path(example.__file__).parent / "README.md").read_text(encoding="utf-8")


def stated(figure: str) -> str:
    """The value of the README's table row `| figure | value |`."""
    match = re.search(rf"^\| {figure} \| (.*) \|$", README, re.MULTILINE)
    assert match is not None, figure
    return match[1]


STATED_ACCURACY = float(stated("FP32 test accuracy").split("%")[0]) / 100


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(example.model())


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["x", "y"]
        return arrays["x"], arrays["y"]


def producer_inputs(model: onnx.ModelProto, node: onnx.NodeProto) -> set[str]:
    """The op types that produce the inputs of `node`."""
    producers = {output: n for n in model.graph.node for output in n.output}
    return {producers[name].op_type for name in node.input}


def test_files_exist_and_are_small() -> None:
    for path in (example.model(), example.calibration(), example.test(), example.preprocess()):
        assert path.is_file(), path
    assert example.model().stat().st_size < 2_000_000
    assert stated("file size") == f"{example.model().stat().st_size:,} bytes"


def test_model_is_valid_and_self_contained(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert 17 <= model.opset_import[0].version <= 20
    assert all(i.data_location != onnx.TensorProto.EXTERNAL for i in model.graph.initializer)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["N", 1, 128, 128]
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["N", 10]


def test_model_says_its_licence_and_nothing_of_the_machine(model: onnx.ModelProto) -> None:
    assert "Apache-2.0" in model.doc_string
    assert model.producer_name
    assert not any(n.doc_string or n.metadata_props for n in model.graph.node)
    raw = example.model().read_bytes()
    assert not any(trace in raw for trace in (b"/home", b"/tmp", b"/work", b"site-packages", b"Traceback"))


def test_model_has_batch_norms_and_residual_adds(model: onnx.ModelProto) -> None:
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops["BatchNormalization"] == ops["Conv"]
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    assert len(adds) >= 3
    # Both branches: the linear bottleneck's norm, and the norm or sum before the block.
    assert all(producer_inputs(model, add) <= {"BatchNormalization", "Add"} for add in adds)
    assert [node.op_type for node in model.graph.node][-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]


def test_stated_parameters(model: onnx.ModelProto) -> None:
    # The running statistics of the norms and the bounds of ReLU6 are not trained.
    trained = [i for i in model.graph.initializer if i.name.endswith((".weight", ".bias"))]
    count = sum(numpy_helper.to_array(i).size for i in trained)
    assert stated("parameters") == f"{count:,}"
    assert count < 500_000


def test_images_are_disjoint_labelled_and_balanced() -> None:
    (calibration_x, calibration_y), (test_x, test_y) = load(example.calibration()), load(example.test())
    assert (len(calibration_x), len(test_x)) == (160, 800)
    for x, y in ((calibration_x, calibration_y), (test_x, test_y)):
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert x.shape == (len(y), 8, 8, 1)
        # The source has 17 grey levels, 0..16, and about as many images of each digit.
        assert set(np.unique(x)) <= set(np.rint(np.arange(17) * 255 / 16).astype(np.uint8))
        counts = np.bincount(y, minlength=10)
        assert len(counts) == 10
        assert counts.min() > 0.9 * len(y) / 10
    contents = [image.tobytes() for image in np.concatenate([calibration_x, test_x])]
    assert len(set(contents)) == len(contents)


def test_accuracy_is_the_stated_one() -> None:
    settings = tomllib.loads(example.preprocess().read_text(encoding="utf-8"))
    assert settings["channels"] == "gray"
    assert settings["layout"] == "nchw"
    (mean,), (scale,), side = settings["mean"], settings["scale"], settings["resize"]
    session = onnxruntime.InferenceSession(example.model(), providers=["CPUExecutionProvider"])
    x, y = load(example.test())
    right = 0
    for images, labels in zip(np.split(x, 16), np.split(y, 16), strict=True):
        inputs = np.empty((len(images), 1, side, side), np.float32)
        for i, image in enumerate(images):
            picture = Image.fromarray(image.squeeze(2)).resize((side, side), Image.Resampling.BILINEAR)
            inputs[i, 0] = (np.asarray(picture, np.float64) - mean) / scale
        (logits,) = session.run(["logits"], {"image": inputs})
        right += int((logits.argmax(1) == labels).sum())
    assert right / len(y) == pytest.approx(STATED_ACCURACY, abs=0.002)
    assert 0.96 < STATED_ACCURACY < 1
