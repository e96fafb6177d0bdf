"""Real models with real labelled data, where the assets folder is there (``FEWBITS_ASSETS``)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from small import Run

ASSETS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))

pytestmark = pytest.mark.skipif(
    not (ASSETS / "models" / "onnx").is_dir(),
    reason=f"no real models in {ASSETS}: set FEWBITS_ASSETS to the folder that holds models/ and imagenet/",
)

# Preprocessing by its code in the assets' README.
PREPROCESSING = {
    "I227": ("--resize", 256, "--crop", 227, "--channels", "bgr", "--mean", "104,117,123", "--scale", 1),
    "I224": ("--resize", 256, "--crop", 224, "--channels", "rgb", "--mean", 127.5, "--scale", 127.5),
    "C1": ("--channels", "rgb", "--mean", "123.675,116.28,103.53", "--scale", "58.395,57.12,57.375"),
}
DATA = {"imagenet": ASSETS / "imagenet" / "val.csv", "cifar10": ASSETS / "cifar10" / "val.npz"}


def quoted(model: str) -> tuple[float, str, str, int]:
    """(top-1 in percent, preprocessing code, data, label offset) from the model's row in the README."""
    readme = (ASSETS / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| onnx/{re.escape(model)}\.onnx \|.*$", readme, re.MULTILINE)
    assert row, f"{model} is not in the README"
    code, data, score = [cell.strip() for cell in row[0].split("|")][-4:-1]
    return float(score), code, data.removesuffix(", +1"), int(data.endswith("+1"))


@pytest.mark.parametrize("model", ["squeezenet_v1.1", "mobilenet_v2_1.0_224", "resnet56_cifar10"])
def test_fp32_is_as_right_as_the_readme_says(model: str, cli: Run) -> None:
    score, code, data, offset = quoted(model)
    path = ASSETS / "models" / "onnx" / f"{model}.onnx"
    options = ("--engine", "openvino", "--label-offset", offset, "--json")
    ran = cli("measure", path, "--data", DATA[data], *PREPROCESSING[code], *options)
    assert ran.code == 0, ran.err
    [entry] = ran.json["models"]
    assert entry["metric"] == "top1"
    assert entry["accuracy"] * 100 == pytest.approx(score, abs=0.3)


def test_choose_on_a_residual_network(cli: Run, tmp_path: Path) -> None:
    path = ASSETS / "models" / "onnx" / "resnet20_cifar10.onnx"
    calibration = ASSETS / "cifar10" / "calib.npz"
    ran = cli(
        *("choose", path, "--data", DATA["cifar10"], "--calibration-data", calibration, *PREPROCESSING["C1"]),
        *("--samples", 300, "--formats", "fp32,int8", "--method", "minmax", "-o", tmp_path / "run", "--json"),
    )
    assert ran.code == 0, ran.err
    by_name = {entry["name"]: entry for entry in ran.json["candidates"]}
    assert {entry["status"] for entry in by_name.values()} <= {"measured", "refused"}
    whole = by_name[ran.json["reference"]]
    assert by_name[ran.json["chosen"]]["samples"] == whole["samples"] == 300
    for engine in ("openvino", "onnxruntime"):
        int8 = by_name[f"{engine}-int8"]
        assert 128 <= int8["samples"] <= 300  # a first stretch shows who is slower or wrong; the others see all
        assert int8["executed"]["i8"] > 0.5
        assert int8["agreement"] > 0.9
        assert int8["size_bytes"] < 0.35 * whole["size_bytes"]
        assert abs(by_name[f"{engine}-fp32"]["drop"]) < 0.01
    assert whole["accuracy"] == pytest.approx(quoted("resnet20_cifar10")[0] / 100, abs=0.07)
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_layers_kept_in_float_leave_mobilenet_right(cli: Run, tmp_path: Path) -> None:
    """Its depthwise weights differ most from channel to channel: rounded per tensor it would guess."""
    path, int8 = ASSETS / "models" / "onnx" / "mobilenet_v2_1.0_224.onnx", tmp_path / "int8.onnx"
    score, code, data, offset = quoted("mobilenet_v2_1.0_224")
    kept = [option for block in range(1, 6) for option in ("--keep-float", f"block{block}/depthwise")]
    calibration = ("--data", ASSETS / "imagenet" / "calib.csv", *PREPROCESSING[code], "--samples", 16)
    ran = cli("calibrate", path, *calibration, "--method", "minmax", "--correct", "none", *kept, "-o", int8)
    assert ran.code == 0, ran.err
    options = ("--samples", 60, "--label-offset", offset, "--json")
    ran = cli("measure", int8, "--data", DATA[data], *PREPROCESSING[code], *options)
    assert ran.code == 0, ran.err
    assert len(ran.json["models"]) == 2
    for entry in ran.json["models"]:
        assert entry["accuracy"] > score / 100 - 0.2, entry["engine"]


def test_a_keyword_transformer_that_hears_sound_keeps_its_answers(cli: Run, tmp_path: Path) -> None:
    """It computes its spectrum itself: in INT8 that left it 32 % right of 91."""
    path, int8 = ASSETS / "models" / "tflite" / "kwt1.tflite", tmp_path / "int8.onnx"
    ran = cli("calibrate", path, "--data", ASSETS / "speech" / "calib.npz", "--scale", 32768, "-o", int8)
    assert ran.code == 0, ran.err
    assert "a logarithm is taken of" in ran.out
    ran = cli("measure", int8, "--data", ASSETS / "speech" / "val.npz", "--scale", 32768, "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["models"]) == 2
    for entry in ran.json["models"]:
        assert entry["accuracy"] == pytest.approx(0.9125, abs=0.04), entry["engine"]
        assert entry["executed"]["i8"] > 0.4
