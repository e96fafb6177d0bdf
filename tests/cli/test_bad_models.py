"""A model that is none, is broken or does not suit is named in one line, with exit code 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mistakes import VERBS, line, refused
from onnx import TensorProto, helper, numpy_helper
from small import CLASSES, Net, Run, build_net, run_in_process


def _missing(folder: Path, good: bytes) -> Path:
    return folder / "nowhere.onnx"


def _folder(folder: Path, good: bytes) -> Path:
    (folder / "folder.onnx").mkdir()
    return folder / "folder.onnx"


def _file(name: str, content: Callable[[bytes], bytes], folder: Path, good: bytes) -> Path:
    (folder / name).write_bytes(content(good))
    return folder / name


BAD_MODELS: dict[str, tuple[Callable[[Path, bytes], Path], str]] = {
    "missing": (_missing, "check the path"),
    "folder": (_folder, ".onnx"),
    "text": (functools.partial(_file, "text.onnx", lambda _: b"hello, I am a model\n"), "export it again"),
    "truncated": (functools.partial(_file, "cut.onnx", lambda good: good[: len(good) // 2]), "export it again"),
    "empty": (functools.partial(_file, "empty.onnx", lambda _: b""), "export it again"),
    "random": (
        functools.partial(_file, "random.onnx", lambda _: np.random.default_rng(0).bytes(4096)),
        "export it again",
    ),
    "suffix": (functools.partial(_file, "model.foo", lambda good: good), ".onnx"),
    "no suffix": (functools.partial(_file, "model", lambda good: good), ".onnx"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_a_file_that_is_no_model_is_named(verb: str, kind: str, net: Net, cli: Run, tmp_path: Path) -> None:
    make, fix = BAD_MODELS[kind]
    bad = make(tmp_path, net.model.read_bytes())
    refused(cli(*line(verb, bad, net, tmp_path)), bad, fix)
    assert not (tmp_path / "out.onnx").exists()


def test_the_second_model_of_a_comparison_is_named(net: Net, cli: Run, tmp_path: Path) -> None:
    bad = _file("text.onnx", lambda _: b"hello", tmp_path, b"")
    refused(cli("compare", net.model, bad, "--data", net.test), bad, "export it again")


@pytest.mark.parametrize("verb", ["choose", "convert"])
def test_in_a_process_of_its_own_it_is_the_same(verb: str, net: Net, tmp_path: Path) -> None:
    bad = _file("cut.onnx", lambda good: good[:5000], tmp_path, net.model.read_bytes())
    refused(run_in_process(*line(verb, bad, net, tmp_path)), bad, "export it again")


def test_measure_refuses_an_ir_that_is_none(net: Net, cli: Run, tmp_path: Path) -> None:
    bad = _file("junk.xml", lambda _: b"<net/>", tmp_path, b"")
    refused(cli("measure", bad), bad, "")


def test_measure_refuses_an_ir_without_its_weights(net: Net, cli: Run, tmp_path: Path) -> None:
    assert cli("convert", net.model, "-o", tmp_path / "ir.xml").code == 0
    (tmp_path / "ir.bin").unlink()
    refused(cli("measure", tmp_path / "ir.xml"), tmp_path / "ir.xml", ".bin")


@pytest.mark.parametrize("verb", ["choose", "calibrate"])
def test_a_quantized_model_is_not_quantized_again(verb: str, net: Net, int8: Path, cli: Run, tmp_path: Path) -> None:
    refused(cli(*line(verb, int8, net, tmp_path)), int8, "give the FP32 model")


def _linear(shape: list[int | str], dtype: int = TensorProto.FLOAT, nodes: str = "MatMul") -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.ones((8, CLASSES), np.float32), "w")
    node = helper.make_node(nodes, ["x", "w"], ["y"], domain="" if nodes == "MatMul" else "strange")
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape[:-1], CLASSES])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("strange", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("verb", ["choose", "calibrate", "compare"])
@pytest.mark.parametrize("sizes", [{"batch": 10}, {"height": "H", "width": "W"}], ids=["batch 10", "free sizes"])
def test_other_input_sizes_work_or_are_refused_but_are_no_fault(
    sizes: dict[str, str | int], verb: str, net: Net, head: np.ndarray, cli: Run, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(build_net(head, **sizes), path)  # type: ignore[arg-type]
    quick = ("--engine", "onnxruntime", "--formats", "fp32", "--time-budget", "1s") if verb == "choose" else ()
    arguments = ["compare", path, path, "--data", net.test] if verb == "compare" else line(verb, path, net, tmp_path)
    ran = cli(*arguments, *quick)
    if ran.code != 0:
        refused(ran, "image", "--input-shape")


@pytest.mark.parametrize("verb", ["choose", "calibrate", "compare"])
def test_a_model_without_inputs_is_refused(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "constant.onnx"
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones((1, 10), np.float32)))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])]
    graph = helper.make_graph([node], "constant", [], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    arguments = ["compare", path, path, "--data", net.test] if verb == "compare" else line(verb, path, net, tmp_path)
    refused(cli(*arguments), path, "input")


@pytest.mark.parametrize("weight", ["block2.w", "head.w"])
def test_weights_that_are_not_finite_are_named(
    weight: str, net: Net, head: np.ndarray, cli: Run, tmp_path: Path
) -> None:
    def poison(weights: dict[str, np.ndarray]) -> None:
        weights[weight].flat[0] = np.nan

    path = tmp_path / "nan.onnx"
    onnx.save(build_net(head, doctor=poison), path)
    refused(cli(*line("calibrate", path, net, tmp_path)), weight.split(".")[0], "")


def test_an_operator_no_engine_knows_is_named(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "strange.onnx"
    onnx.save(_linear(["N", 8], nodes="Foo"), path)
    np.savez(tmp_path / "x.npz", x=np.ones((8, 8), np.float32))
    for verb in (
        ["convert", path, "-o", tmp_path / "out.onnx"],
        ["calibrate", path, "--data", tmp_path / "x.npz", "-o", tmp_path / "out.onnx"],
    ):
        ran = cli(*verb)
        assert ran.code in (1, 2)
        assert str(path) in ran.last
        assert "Foo" in ran.last
