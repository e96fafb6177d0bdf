"""One real run with hostile names, shared by the tests of the report, and a browser to open its page in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from browser import Browser, browser
from hostile import HOSTILE
from PIL import Image

import fewbits
from fewbits import example
from fewbits.selection.records import Decision


@pytest.fixture(scope="session")
def _choice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Decision]:
    """A choice on the example network, whose file, nodes and samples bear hostile names, and its folder."""

    folder = tmp_path_factory.mktemp("report")
    model = onnx.load(example.model())
    for node in model.graph.node:
        if node.op_type == "Gemm":
            node.name = f"{HOSTILE}{node.name}"
        if node.op_type == "Conv" and not node.name.startswith("stem"):
            # Weights of very different sizes, so that INT8 answers some samples differently.
            weights = next(w for w in model.graph.initializer if w.name == node.input[1])
            array = onnx.numpy_helper.to_array(weights).copy()
            array[0] *= 6
            weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    path = folder / "a<script>alert(1)<&'.onnx"
    onnx.save(model, path)
    images = folder / "images"
    images.mkdir()
    with np.load(example.test()) as data:
        rows = ["file,label"]
        for index, (image, label) in enumerate(zip(data["x"][:48], data["y"][:48], strict=True)):
            name = f"<img src=x onerror=alert({index})>.png"
            Image.fromarray(image[:, :, 0]).save(images / name)
            rows.append(f"images/{name},{label}")
    (folder / "val.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = fewbits.DataOptions(
        data=folder / "val.csv", calibration_data=example.calibration(), preprocess=example.preprocess()
    )
    with pytest.MonkeyPatch.context() as patch:
        for turn in ("TURN_S", "SHORT_TURN_S"):
            patch.setattr(f"fewbits.selection.clocking.{turn}", 0.01)
        decision = fewbits.choose(
            path,
            options,
            out=folder / "run",
            # By size, so that noise decides nothing here.
            budget=fewbits.Budget(max_drop=1.0, objective="size"),
            formats=("fp32", "int8", "mixed"),
            method="minmax",
        )
    return folder / "run", decision


@pytest.fixture(scope="session")
def run(_choice: tuple[Path, Decision]) -> Path:
    """The run's folder, read-only for tests."""
    return _choice[0]


@pytest.fixture(scope="session")
def decided(_choice: tuple[Path, Decision]) -> Decision:
    return _choice[1]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened
