"""Every verb takes every kind of model, and the options of a network without weights."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from small import Net, Run

import fewbits
from fewbits.frontends import onnx as onnx_frontend
from fewbits.measurement.records import Subject

QUICK = ("--engine", "onnxruntime", "--formats", "fp32", "--time-budget", "1s")


@pytest.fixture
def caffe(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``.prototxt`` that a stand-in for the Caffe frontend reads: the small network, or one with other weights.

    What a verb does with a frontend's model is tested here; what Caffe files mean is tested elsewhere.
    """
    stub: Any = types.ModuleType("caffe")

    def load(path: Path, *, weights: Path | None, random_weights: bool, seed: int) -> ir.Model:
        model = onnx_frontend.load(net.model)
        model.meta["frontend"] = "Caffe"
        if random_weights:
            value = model.graph.initializers["head.w"]
            shape = value.const_value.shape.numpy()
            value.const_value = ir.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
            model.meta["notes"] = [f"weights are random (seed {seed})"]
        else:
            assert weights == tmp_path / "net.caffemodel"
        return model

    stub.load = load
    monkeypatch.setitem(sys.modules, "fewbits.frontends.caffe", stub)
    path = tmp_path / "deploy.prototxt"
    path.write_text('layer { name: "small" }')
    (tmp_path / "net.caffemodel").write_bytes(bytes(5000))
    return path


def arguments(verb: str, model: Path, net: Net, folder: Path) -> list[object]:
    return {
        "choose": [
            "choose",
            model,
            "--data",
            net.test,
            "--calibration-data",
            net.calibration,
            *QUICK,
            "-o",
            folder / "r",
        ],
        "calibrate": ["calibrate", model, "--data", net.calibration, "--method", "minmax", "-o", folder / "out.onnx"],
        "convert": ["convert", model, "-o", folder / "out.onnx"],
        "measure": ["measure", model, "--engine", "onnxruntime"],
        "compare": ["compare", model, net.model, "--data", net.calibration],
        "inspect": ["inspect", model],
    }[verb]


@pytest.mark.parametrize("verb", ["choose", "calibrate", "convert", "measure", "compare", "inspect"])
def test_random_weights_are_said_loudly_by_every_verb(
    verb: str, caffe: Path, net: Net, cli: Run, tmp_path: Path
) -> None:
    ran = cli(*arguments(verb, caffe, net, tmp_path), "--random-weights", "--seed", 4)
    assert ran.code == 0, ran.err
    assert "weights are random (seed 4)" in ran.err


@pytest.mark.parametrize("verb", ["choose", "calibrate", "convert", "measure", "compare", "inspect"])
@pytest.mark.parametrize("option", [("--weights", "w.caffemodel"), ("--random-weights",)])
def test_weights_are_for_networks_without_them(
    verb: str, option: tuple[str, ...], net: Net, cli: Run, tmp_path: Path
) -> None:
    ran = cli(*arguments(verb, net.model, net, tmp_path), *option)
    assert (ran.code, ran.out) == (2, "")
    assert f"{option[0]} goes with a .prototxt only" in ran.last


def test_weights_are_handed_to_the_network_among_others(caffe: Path, net: Net, cli: Run) -> None:
    """The same network once with its weights and once as ONNX: nothing differs."""
    ran = cli("compare", caffe, net.model, "--weights", caffe.with_name("net.caffemodel"), "--data", net.test, "--json")
    assert ran.code == 0, ran.err
    assert {layer["max_abs"] for layer in ran.json["layers"]} == {0.0}


def test_what_is_measured_is_what_was_given(caffe: Path, net: Net, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines get an ONNX file; path and size are those of the files given, and the file is gone afterwards."""
    seen: list[Path] = []
    from fewbits.verbs import measure as verb

    plain = verb.measure_memory

    def noting(subject: Subject) -> Any:
        seen.append(subject.path)
        assert subject.path.is_file()
        return plain(subject)

    monkeypatch.setattr(verb, "measure_memory", noting)
    weights = caffe.with_name("net.caffemodel")
    ran = cli("measure", caffe, net.model, "--weights", weights, "--data", net.test, "--samples", 20, "--json")
    assert ran.code == 0, ran.err
    rows = ran.json["models"]
    assert [(row["path"], row["engine"]) for row in rows] == [
        (str(path), engine) for path in (caffe, net.model) for engine in ("openvino", "onnxruntime")
    ]
    assert rows[0]["size_bytes"] == 5000 + caffe.stat().st_size
    assert rows[2]["size_bytes"] == net.model.stat().st_size
    assert rows[0]["accuracy"] == rows[2]["accuracy"]
    assert [path == net.model for path in seen] == [False, False, True, True]
    assert not seen[0].exists()


def test_inspect_says_which_frontend_read_it(caffe: Path, net: Net, cli: Run) -> None:
    weights = caffe.with_name("net.caffemodel")
    assert cli("inspect", caffe, "--weights", weights, "--json").json["frontend"] == "Caffe"
    assert "read by Caffe, " in cli("inspect", caffe, "--weights", weights).out
    assert cli("inspect", net.model, "--json").json["frontend"] == "ONNX"


@pytest.mark.parametrize("verb", ["choose", "calibrate", "convert", "measure", "inspect"])
def test_an_onnx_model_by_another_name_is_read(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    model = tmp_path / "model.pb"
    shutil.copyfile(net.model, model)
    ran = cli(*arguments(verb, model, net, tmp_path))
    assert ran.code == 0, ran.err
    assert model.read_bytes() == net.model.read_bytes()


def test_no_result_goes_over_the_files_of_the_model(caffe: Path, net: Net, cli: Run, tmp_path: Path) -> None:
    weights = tmp_path / "mine.bin"
    weights.write_bytes(b"mine")
    ran = cli("convert", caffe, "--weights", weights, "-o", tmp_path / "mine.xml")
    assert ran.code == 2
    assert "this is the model itself" in ran.last
    assert weights.read_bytes() == b"mine"


def test_sources_are_values_of_the_python_functions(caffe: Path, net: Net, tmp_path: Path) -> None:
    source = fewbits.Source(caffe, tmp_path / "net.caffemodel")
    found = fewbits.convert(source, out=tmp_path / "out.onnx")
    assert found.size_before == 5000 + caffe.stat().st_size
    assert fewbits.inspect(source).frontend == "Caffe"
