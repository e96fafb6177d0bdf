"""The example that ships with the package: a small network, its images and its preprocessing.

The README beside this file says what they are; `scripts/train_example.py` makes them.

    >>> from fewbits import example
    >>> example.model().name
    'digits.onnx'
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["calibration", "model", "preprocess", "test"]


def model() -> Path:
    """FP32 ONNX file: `image` [N, 1, 128, 128] -> `logits` [N, 10]."""
    return _file("digits.onnx")


def calibration() -> Path:
    """160 images for calibration: `x` uint8 [160, 8, 8, 1], `y` int64 [160]."""
    return _file("digits_calibration.npz")


def test() -> Path:
    """800 images for accuracy: `x` uint8 [800, 8, 8, 1], `y` int64 [800]."""
    return _file("digits_test.npz")


def preprocess() -> Path:
    """How an image becomes the network's input: resize, mean, scale, channels, layout."""
    return _file("preprocess.toml")


def _file(name: str) -> Path:
    # A wheel is unpacked when installed, so the resource is a plain file with a path of its own.
    return Path(str(files(__name__) / name))
