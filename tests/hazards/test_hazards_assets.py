"""No false alarm: real networks that survive FP16 on real data have no certain finding, and lose no node to FP32."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import fewbits
from fewbits.verbs.inspect import inspect

ASSETS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))
ONNX = sorted((ASSETS / "models" / "onnx").glob("*.onnx"))
IMAGENET, CIFAR = ASSETS / "imagenet" / "calib.csv", ASSETS / "cifar10" / "calib.npz"
SQUEEZENET = fewbits.DataOptions(data=IMAGENET, resize="256", crop="227", mean="104,117,123", scale="1", channels="bgr")
MOBILENET = fewbits.DataOptions(data=IMAGENET, resize="256", crop="224", mean="127.5", scale="127.5")
RESNET = fewbits.DataOptions(data=CIFAR, mean="123.675,116.28,103.53", scale="58.395,57.12,57.375")
COCO = ASSETS / "coco128" / "images"
DATA = {
    "squeezenet_v1.0": SQUEEZENET,
    "squeezenet_v1.1": SQUEEZENET,
    "mobilenet_v1_1.0_224": MOBILENET,
    "mobilenet_v2_1.0_224": MOBILENET,
    "resnet20_cifar10": RESNET,
    "resnet56_cifar10": RESNET,
    "samplenet": fewbits.DataOptions(data=CIFAR, mean="125.307,122.961,113.8575", scale="51.5865,50.847,51.255"),
    "yolox_nano": fewbits.DataOptions(data=COCO, resize="416,416", mean="0", scale="1", channels="bgr"),
    "unet_retina": fewbits.DataOptions(data=ASSETS / "drive" / "calib", resize="584,568", mean="0", scale="255"),
}

pytestmark = pytest.mark.skipif(not ONNX, reason=f"no real models in {ASSETS}: set FEWBITS_ASSETS")


@pytest.mark.parametrize("path", ONNX, ids=lambda path: path.stem)
def test_what_survives_fp16_is_not_said_to_fail(path: Path) -> None:
    result = inspect(path, replace(DATA[path.stem], samples=2))
    assert result.run is not None
    assert result.run.survives
    assert result.run.first_wild is None
    assert [f for f in result.findings if f.level != "information"] == []
    assert result.keep == ()
    assert result.samples == 2
    assert all(entry.share > 0.5 for entry in result.coverage)
