"""The example that ships with the package, from ``fewbits demo`` to the model that is deployed."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino
import pytest
from PIL import Image
from small import Ran, load, run_in_process

from fewbits import example
from fewbits.selection.judging import STRETCH

ENGINES = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """The demo, run once: (folder, how it ended)."""
    run = tmp_path_factory.mktemp("demo") / "run"
    ran = run_in_process("demo", "-o", run, "--json")
    assert ran.code == 0, ran.err
    return run, ran


@pytest.fixture(scope="module")
def by_name(demo: tuple[Path, Ran]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in demo[1].json["candidates"]}


def images() -> tuple[np.ndarray, np.ndarray]:
    """The test images as the example's README says they are fed, and their labels; by Pillow and numpy alone."""
    data = load(example.test())
    grown = [
        np.asarray(Image.fromarray(image[:, :, 0]).resize((128, 128), Image.Resampling.BILINEAR)) for image in data["x"]
    ]
    return ((np.stack(grown)[:, None].astype(np.float32) - 78) / 90), data["y"]


def test_standard_output_is_the_decision_and_nothing_else(demo: tuple[Path, Ran]) -> None:
    run, ran = demo
    assert (run / "decision.json").read_text(encoding="utf-8") == ran.out
    assert "Traceback" not in ran.err
    assert ran.json["warnings"] == []


def test_fp32_is_as_right_as_the_readme_says(by_name: dict[str, dict[str, Any]]) -> None:
    readme = (files("fewbits.example") / "README.md").read_text(encoding="utf-8")
    quoted = re.search(r"FP32 test accuracy \| ([\d.]+)%", readme)
    assert quoted
    plain = sorted((by_name[f"{engine}-fp32"] for engine in ENGINES), key=lambda entry: -entry["samples"])
    assert (plain[0]["drop"], plain[0]["samples"]) == (0, 800)
    assert plain[0]["accuracy"] * 100 == pytest.approx(float(quoted[1]), abs=0.3)
    # The slower FP32 is shown a part of the images, and is right on the same ones.
    for other in plain[1:]:
        assert other["samples"] >= STRETCH
        assert (other["drop"], other["agreement"]) == pytest.approx((0, 1), abs=0.003)


def test_every_candidate_is_measured_or_refused_with_a_reason(by_name: dict[str, dict[str, Any]]) -> None:
    formats = ("fp32", "fp16", "bf16", "int8", "int8+bf16")
    # The search may have found that a layer is faster in float.
    found = {name for name in by_name if re.search(r"-int8\+(bf16|fp32)-\d+of\d+$", name)}
    assert by_name.keys() - found == {f"{engine}-{name}" for engine in ENGINES for name in formats}
    for entry in by_name.values():
        assert entry["status"] in ("measured", "refused")
        assert len(entry["reason"]) > 10
        if entry["status"] == "refused":
            assert "bf16" in entry["name"]
            assert "BF16" in entry["reason"]


def test_what_was_executed_is_what_was_asked_for(by_name: dict[str, dict[str, Any]]) -> None:
    for entry in by_name.values():
        if entry["status"] == "measured":
            assert sum(entry["executed"].values()) == pytest.approx(1, abs=1e-6)
    for engine in ENGINES:
        assert by_name[f"{engine}-int8"]["executed"]["i8"] > 0.5
        assert by_name[f"{engine}-fp32"]["executed"].keys().isdisjoint({"bf16", "f16", "i8"})
    if by_name["openvino-bf16"]["status"] == "measured":
        assert by_name["openvino-bf16"]["executed"]["bf16"] > 0.5


def test_sizes(by_name: dict[str, dict[str, Any]]) -> None:
    for engine in ENGINES:
        whole = by_name[f"{engine}-fp32"]["size_bytes"]
        assert by_name[f"{engine}-fp16"]["size_bytes"] == pytest.approx(whole / 2, rel=0.05)
        assert by_name[f"{engine}-int8"]["size_bytes"] < 0.35 * whole


def test_int8_costs_less_than_a_point(by_name: dict[str, dict[str, Any]]) -> None:
    for engine in ENGINES:
        assert by_name[f"{engine}-int8"]["drop"] <= 0.01
        assert by_name[f"{engine}-int8"]["agreement"] > 0.97


def test_the_chosen_model_runs_as_quoted(demo: tuple[Path, Ran], by_name: dict[str, dict[str, Any]]) -> None:
    """A person who deploys ``model.onnx`` with the quoted settings sees the quoted accuracy, to the sample."""
    run, ran = demo
    winner = by_name[ran.json["chosen"]]
    settings = winner["settings"]["latency"]
    pixels, labels = images()
    if winner["engine"] == "openvino":
        core = openvino.Core()
        model = core.read_model(str(run / "model.onnx"))
        model.reshape([1, 1, 128, 128])
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        scores = [request.infer({"image": image[None]})["logits"].copy() for image in pixels]
    else:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(settings["intra_op_num_threads"])
        session = ort.InferenceSession(str(run / "model.onnx"), options, providers=["CPUExecutionProvider"])
        scores = [session.run(None, {"image": image[None]})[0] for image in pixels]
    right = int((np.concatenate(scores).argmax(1) == labels).sum())
    assert right == round(winner["accuracy"] * len(labels))
    assert right / len(labels) == pytest.approx(winner["accuracy"], abs=1e-12)


def test_the_preprocessing_beside_it_is_the_examples(demo: tuple[Path, Ran]) -> None:
    from fewbits import Preprocess

    assert Preprocess.from_toml(demo[0] / "preprocess.toml") == Preprocess.from_toml(example.preprocess())
