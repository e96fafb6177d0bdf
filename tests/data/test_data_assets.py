"""The real data pack, where it is: FEWBITS_ASSETS, or ../shared/assets beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fewbits.data import CocoTarget, Preprocess, check_labels, open_dataset, overlap, stream, subset
from fewbits.numerics.tensors import TensorSpec

ASSETS = Path(os.environ.get("FEWBITS_ASSETS") or Path(__file__).parents[2] / "../shared/assets")
F4 = np.dtype(np.float32)
I227 = Preprocess.from_options(resize="256", crop="227", mean="104,117,123", scale="1", channels="bgr")


@pytest.fixture
def assets() -> Path:
    if not (ASSETS / "imagenet/val.csv").is_file():
        pytest.skip(f"no data pack in {ASSETS}; set FEWBITS_ASSETS to its folder")
    return ASSETS


def test_imagenet(assets: Path) -> None:
    inputs = [TensorSpec("data", (None, 3, 227, 227), F4)]
    val = open_dataset(assets / "imagenet/val.csv", inputs=inputs, preprocess=I227)
    calib = open_dataset(assets / "imagenet/calib.csv", inputs=inputs, preprocess=I227)
    assert (len(val), len(calib), val.labelled) == (650, 300, True)
    check_labels(val, 1000)
    assert overlap(calib, val) == []
    samples = list(stream(subset(val, range(20))))
    assert samples[0].target == 300 and samples[0].inputs["data"].shape == (1, 3, 227, 227)
    assert -123 <= min(s.inputs["data"].min() for s in samples) < 0 < samples[0].inputs["data"].max() <= 151


def test_cifar10(assets: Path) -> None:
    inputs = [TensorSpec("input", (None, 3, 32, 32), F4)]
    data = open_dataset(assets / "cifar10/val.npz", inputs=inputs, preprocess=Preprocess(scale=(255,)))
    assert len(data) == 2000 and np.bincount([data.label(i) or 0 for i in range(2000)]).tolist() == [200] * 10
    with np.load(assets / "cifar10/val.npz") as arrays:
        want = arrays["x"][7].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(data.read(7).inputs["input"], want)


def test_coco_and_its_masks(assets: Path) -> None:
    inputs = [TensorSpec("images", (1, 3, 416, 416), F4)]
    steps = Preprocess(resize=416, fit="letterbox", channels="bgr")
    folder = assets / "coco128"
    boxes = open_dataset(folder / "annotations.json", inputs=inputs, preprocess=steps, images=folder / "images")
    targets = [entry.target for entry in boxes.entries]  # type: ignore[attr-defined]
    assert len(boxes) == 128 and len(boxes.categories) == 80
    assert sum(len(target.boxes) for target in targets if isinstance(target, CocoTarget)) == 929
    masks = open_dataset(folder / "images", inputs=inputs, preprocess=steps, masks=folder / "masks")
    assert len(masks) == 100 and masks.notes == ("28 of 128 images have no mask and are left out",)
    mask = masks.read(0).target
    assert isinstance(mask, np.ndarray) and mask.shape == (416, 416) and mask.dtype == np.uint8


def test_speech(assets: Path) -> None:
    data = open_dataset(
        assets / "speech/val.npz",
        inputs=[TensorSpec("audio", (1, 16000), F4)],
        preprocess=Preprocess(scale=(32768,)),
    )
    check_labels(data, 12)
    assert len(data) == 240 and abs(data.read(0).inputs["audio"]).max() <= 1
    features = open_dataset(assets / "speech/val_mfcc.npz", inputs=[TensorSpec("mfcc", (None, 49, 10, 1), F4)])
    assert features.preprocess is None and features.read(0).inputs["mfcc"].shape == (1, 49, 10, 1)
