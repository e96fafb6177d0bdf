"""The real models: where they are, how their images are prepared, what they score in FP32."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fewbits import DataOptions

ASSETS = Path(os.environ.get("FEWBITS_ASSETS", "../shared/assets"))


@dataclass(frozen=True)
class Asset:
    """A labelled ONNX model. ``top1`` is the FP32 accuracy its publisher states on this very data."""

    name: str
    data: str
    calibration: str
    top1: float
    preprocess: dict[str, str]
    label_offset: int = 0

    @property
    def model(self) -> Path:
        return ASSETS / "models" / "onnx" / f"{self.name}.onnx"

    def options(self, samples: int | None = None) -> DataOptions:
        return DataOptions(
            data=ASSETS / self.data,
            calibration_data=ASSETS / self.calibration,
            label_offset=self.label_offset,
            samples=samples,
            **self.preprocess,
        )


_CAFFE = {"resize": "256", "crop": "227", "channels": "bgr", "mean": "104,117,123", "scale": "1"}
_TF = {"resize": "256", "crop": "224", "mean": "127.5", "scale": "127.5"}
_CIFAR = {"mean": "123.675,116.28,103.53", "scale": "58.395,57.12,57.375"}
_IMAGENET = ("imagenet/val.csv", "imagenet/calib.csv")
_CIFAR10 = ("cifar10/val.npz", "cifar10/calib.npz")

CLASSIFIERS = (
    Asset("squeezenet_v1.0", *_IMAGENET, 0.6800, _CAFFE),
    Asset("squeezenet_v1.1", *_IMAGENET, 0.6892, _CAFFE),
    Asset("mobilenet_v1_1.0_224", *_IMAGENET, 0.7831, _TF, 1),
    Asset("mobilenet_v2_1.0_224", *_IMAGENET, 0.7877, _TF, 1),
    Asset("resnet20_cifar10", *_CIFAR10, 0.8220, _CIFAR),
    Asset("resnet56_cifar10", *_CIFAR10, 0.8385, _CIFAR),
)


def chosen(names: list[str]) -> list[Asset]:
    """The named models, or all; leaves with a message where the assets are not here."""
    if not ASSETS.is_dir():
        sys.exit(f"no assets in {ASSETS}: set FEWBITS_ASSETS to the folder with models/, imagenet/, cifar10/")
    known = {asset.name: asset for asset in CLASSIFIERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"unknown model {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(CLASSIFIERS)
