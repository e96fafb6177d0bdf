"""Real networks written as an IR of 2019 and read again, where the assets folder is there (``FEWBITS_ASSETS``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import fewbits
from fewbits.data import Sample, stream, take
from fewbits.engines import ENGINES, Options
from fewbits.frontends import legacy_ir, onnx
from fewbits.graph import queries
from fewbits.progress import Progress
from fewbits.verbs.inputs import open_test_data

ASSETS = Path(os.environ.get("FEWBITS_ASSETS", Path(__file__).parents[3] / "shared" / "assets"))

pytestmark = pytest.mark.skipif(
    not (ASSETS / "models" / "onnx").is_dir(),
    reason=f"no real models in {ASSETS}: set FEWBITS_ASSETS to the folder that holds models/ and imagenet/",
)

CIFAR, IMAGENET = ("cifar10/calib.npz", "cifar10/val.npz"), ("imagenet/calib.csv", "imagenet/val.csv")
IMAGES_227 = {"resize": "256", "crop": "227", "channels": "bgr", "mean": "104,117,123", "scale": "1"}
IMAGES_224 = {"resize": "256", "crop": "224", "channels": "rgb", "mean": "127.5", "scale": "127.5"}
COLOURS_1 = {"channels": "rgb", "mean": "123.675,116.28,103.53", "scale": "58.395,57.12,57.375"}
COLOURS_2 = {"channels": "bgr", "mean": "113.8575,122.961,125.307", "scale": "51.255,50.847,51.5865"}
NETWORKS: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "samplenet": (COLOURS_2, CIFAR),
    "resnet20_cifar10": (COLOURS_1, CIFAR),
    "squeezenet_v1.1": (IMAGES_227, IMAGENET),
    "mobilenet_v2_1.0_224": (IMAGES_224, IMAGENET),
}
COUNT = 60


def outputs(model: ir.Model, samples: list[Sample]) -> np.ndarray:
    session = ENGINES["onnxruntime"].compile(model, Options())
    found = [next(iter(session.run(sample.inputs).values())).reshape(1, -1).copy() for sample in samples]
    session.close()
    return np.concatenate(found)


def sqnr_db(reference: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((other - reference) ** 2).sum()))


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    """The float part is the original to 1e-5; the quantized part is as near to it as fewbits' own INT8 is."""
    steps, (calibration, test) = NETWORKS[name]
    options: dict[str, Any] = dict(steps)
    path, data = (
        ASSETS / "models" / "onnx" / f"{name}.onnx",
        fewbits.DataOptions(data=ASSETS / calibration, samples=32, **options),
    )
    settings: dict[str, Any] = {"method": "minmax", "correct": "none"}
    fewbits.calibrate(path, data, out=tmp_path / "ir.xml", ir_version=6, **settings)
    fewbits.calibrate(path, data, out=tmp_path / "own.onnx", **settings)
    model = onnx.load(path)
    dataset = open_test_data(
        fewbits.DataOptions(data=ASSETS / test, **options), queries.specs(model.graph.inputs), Progress()
    )
    samples = list(stream(take(dataset, COUNT, 0), workers=1))
    expected = outputs(model, samples)
    whole = outputs(legacy_ir.load(tmp_path / "ir.xml", quantized=False), samples)
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    int8, own = (
        outputs(legacy_ir.load(tmp_path / "ir.xml"), samples),
        outputs(onnx.load(tmp_path / "own.onnx"), samples),
    )
    assert sqnr_db(expected, int8) > sqnr_db(expected, own) - 4
    assert (int8.argmax(1) == expected.argmax(1)).mean() > (own.argmax(1) == expected.argmax(1)).mean() - 0.06
