"""Real networks fed wrongly and rightly: the slip is named, and right data raises no alarm."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fewbits import example, frontends
from fewbits.data import Preprocess, open_dataset
from fewbits.errors import DataError
from fewbits.graph import queries
from fewbits.measurement.metrics import metric
from fewbits.progress import Progress
from fewbits.verbs.sanity import check_fp32

ASSETS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))
IMAGENET, CIFAR10 = ASSETS / "imagenet" / "val.csv", ASSETS / "cifar10" / "val.npz"
real = pytest.mark.skipif(
    not (ASSETS / "models" / "onnx").is_dir(),
    reason=f"no real models in {ASSETS}: set FEWBITS_ASSETS to the folder that holds models/ and imagenet/",
)

CAFFE = Preprocess(resize=256, crop=227, channels="bgr", mean=(104, 117, 123))
TENSORFLOW = Preprocess(resize=256, crop=224, mean=(127.5,), scale=(127.5,))
PYTORCH = Preprocess(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
REVERSED = Preprocess(channels="bgr", mean=(113.8575, 122.961, 125.307), scale=(51.255, 50.847, 51.5865))
RIGHT = {
    "squeezenet_v1.0": (IMAGENET, CAFFE, 0),
    "squeezenet_v1.1": (IMAGENET, CAFFE, 0),
    "mobilenet_v1_1.0_224": (IMAGENET, TENSORFLOW, 1),
    "mobilenet_v2_1.0_224": (IMAGENET, TENSORFLOW, 1),
    "resnet20_cifar10": (CIFAR10, PYTORCH, 0),
    "resnet56_cifar10": (CIFAR10, PYTORCH, 0),
    "samplenet": (CIFAR10, REVERSED, 0),
}


def warnings(model: Path, data: Path, steps: Preprocess, offset: int) -> list[str]:
    loaded, progress = frontends.load(model), Progress()
    opened = open_dataset(data, inputs=queries.specs(loaded.graph.inputs), preprocess=steps, label_offset=offset)
    check_fp32(loaded, opened, metric("top1", labelled=True), 0, progress)
    return progress.warnings


def asset(name: str) -> Path:
    return ASSETS / "models" / "onnx" / f"{name}.onnx"


@real
@pytest.mark.parametrize("name", RIGHT)
def test_right_data_raises_no_alarm(name: str) -> None:
    assert warnings(asset(name), *RIGHT[name]) == []


@real
def test_a_tighter_crop_raises_no_alarm() -> None:
    """It is worth three points here, which is no slip."""
    assert warnings(asset("squeezenet_v1.1"), IMAGENET, replace(CAFFE, resize=227), 0) == []


def test_the_example_raises_no_alarm() -> None:
    assert warnings(example.model(), example.test(), Preprocess.from_toml(example.preprocess()), 0) == []


@real
@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (replace(CAFFE, channels="rgb"), "--channels bgr"),
        (replace(CAFFE, mean=(0,)), "--mean 104,117,123"),
        (Preprocess(resize=256, crop=227), "--channels bgr --mean 104,117,123"),
    ],
)
def test_wrong_steps_are_named(steps: Preprocess, options: str) -> None:
    [warning] = warnings(asset("squeezenet_v1.1"), IMAGENET, steps, 0)
    assert f"% with {options} - " in warning


@real
@pytest.mark.parametrize(
    ("name", "steps", "offset", "options"),
    [
        ("squeezenet_v1.1", replace(CAFFE, scale=(255,)), 0, "--scale 1"),
        ("mobilenet_v2_1.0_224", TENSORFLOW, 0, "--label-offset 1"),
        ("resnet20_cifar10", Preprocess(), 0, "--mean 123.675,116.28,103.53 --scale 58.395,57.12,57.375"),
    ],
)
def test_guessing_is_refused_and_the_remedy_named(name: str, steps: Preprocess, offset: int, options: str) -> None:
    with pytest.raises(DataError, match="of guessing; with ") as caught:
        warnings(asset(name), RIGHT[name][0], steps, offset)
    assert caught.value.fix == f"give {options}"
    assert caught.value.exit_code == 2
