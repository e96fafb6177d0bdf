"""What a person gets wrong ends with exit code 2 and one line that says what, where, and how to fix it."""

from __future__ import annotations

import errno
import functools
import resource
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small import CLASSES, SIDE, Net, Ran, Run, build_net, load, run_in_process

VERBS = ("choose", "calibrate", "measure", "convert", "compare")
SIZE = ("--mean", "0", "--scale", "64")


def refused(ran: Ran, place: object, fix: str) -> None:
    """Exit code 2, nothing on standard output, and one last line with the place and a word of the remedy."""
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert [line for line in ran.err.splitlines() if line.startswith("fewbits: ")] == [ran.last], ran.err
    what, found, remedy = ran.last.partition(" - ")
    assert str(place) in what, ran.last
    assert found, f"no remedy: {ran.last}"
    assert fix in remedy, ran.last


def line(verb: str, model: object, net: Net, folder: Path, data: object = None) -> list[object]:
    """A command line of the verb that is right but for what the test puts in."""
    data = net.calibration if data is None else data
    match verb:
        case "choose":
            return ["choose", model, "--data", data, "--calibration-data", net.calibration, "-o", folder / "run"]
        case "calibrate":
            return ["calibrate", model, "--data", data, "--method", "minmax", "-o", folder / "out.onnx"]
        case "measure":
            return ["measure", model, "--engine", "onnxruntime", "--data", data]
        case "convert":
            return ["convert", model, "-o", folder / "out.onnx"]
        case _:
            return ["compare", model, net.model, "--data", data]


def left_behind(folder: Path) -> list[str]:
    """Files a failed run left: results and scratch folders."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() or path.name.startswith(".fewbits-"))


def jpeg(path: Path, seed: int, side: int = SIDE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path, "JPEG")
    return path


# --- models -----------------------------------------------------------------------------------------------------


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
        refused(ran, path, "--input-shape")


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


# --- data -------------------------------------------------------------------------------------------------------


def _npz(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes allow_pickle for a bool
    return folder / "data.npz"


def _csv(folder: Path, text: str) -> Path:
    jpeg(folder / "a.jpg", 0)
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


def _empty_folder(folder: Path) -> Path:
    (folder / "images").mkdir()
    return folder / "images"


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "other size": (lambda f: _npz(f, x=_zeros(4, 3, 16, 16)), "[N,3,32,32]", "shape"),
    "other rank": (lambda f: _npz(f, x=_zeros(4, 32, 32)), "[N,32,32]", "shape"),
    "other name": (lambda f: _npz(f, pixels=_zeros(4, 3, 32, 32)), "pixels", "image"),
    "other length": (lambda f: _npz(f, x=_zeros(4, 3, 32, 32), y=np.arange(3)), "4", ""),
    "no rows": (lambda f: _npz(f, x=_zeros(0, 3, 32, 32)), "empty", "N > 0"),
    "no arrays": (lambda f: _npz(f), "no array", "image"),
    "pickled": (lambda f: _npz(f, x=np.array([{}, {}], object)), "never loaded", "astype"),
    "labels in between": (lambda f: _npz(f, x=_zeros(2, 3, 32, 32), y=np.array([0.5, 1.5])), "labels y", "int64"),
    "text as npz": (lambda f: _file("text.npz", lambda _: b"hello", f, b""), "text.npz", "numpy.savez"),
    "missing": (lambda f: f / "nowhere", "does not exist", ".csv"),
    "empty folder": (_empty_folder, "no images", ".jpg"),
    "empty csv": (lambda f: _csv(f, ""), "no column 'file'", "file,label"),
    "csv without header": (lambda f: _csv(f, "a.jpg,1\n"), "no column 'file'", "file,label"),
    "csv without rows": (lambda f: _csv(f, "file,label\n"), "lists no files", ""),
    "csv with words": (lambda f: _csv(f, "file,label\na.jpg,cat\n"), "list.csv:2", "0, 1"),
    "csv with fractions": (lambda f: _csv(f, "file,label\na.jpg,1.5\n"), "'1.5'", "0, 1"),
    "csv with a missing file": (lambda f: _csv(f, "file,label\nb.jpg,1\n"), "list.csv:2", ""),
    "csv that escapes": (lambda f: _csv(f, "file,label\n../../etc/passwd,1\n"), "list.csv:2", "relative"),
    "csv with an absolute path": (lambda f: _csv(f, "file,label\n/etc/passwd,1\n"), "list.csv:2", "relative"),
    "unknown form": (lambda f: _file("data.foo", lambda _: b"", f, b""), "data.foo", ".csv"),
}


@pytest.mark.parametrize("verb", ["choose", "calibrate", "compare"])
@pytest.mark.parametrize("kind", BAD_DATA)
def test_data_that_does_not_fit_is_named(verb: str, kind: str, net: Net, cli: Run, tmp_path: Path) -> None:
    make, place, fix = BAD_DATA[kind]
    bad = make(tmp_path)
    ran = cli(*line(verb, net.model, net, tmp_path, bad))
    refused(ran, place, fix)
    assert bad.name in ran.last
    assert not (tmp_path / "out.onnx").exists()


def test_measure_says_the_same(net: Net, cli: Run, tmp_path: Path) -> None:
    refused(cli(*line("measure", net.model, net, tmp_path, _npz(tmp_path, x=_zeros(4, 3, 16, 16)))), "data.npz", "")


def test_bad_calibration_data_is_named(net: Net, cli: Run, tmp_path: Path) -> None:
    bad = _npz(tmp_path, x=_zeros(4, 3, 16, 16))
    arguments = ["choose", net.model, "--data", net.test, "--calibration-data", bad, "-o", tmp_path / "run"]
    refused(cli(*arguments), bad, "shape")


def test_numbers_that_are_not_finite_are_said(net: Net, cli: Run, tmp_path: Path) -> None:
    poisoned = load(net.calibration)["x"]
    poisoned[3, 0, 0, 0] = np.nan
    bad = _npz(tmp_path, x=poisoned)
    refused(cli(*line("calibrate", net.model, net, tmp_path, bad)), "infinite or NaN", "--mean")


@pytest.mark.parametrize(("offset", "sample"), [(1, 9), (-1, 0), (10**20, 0)])
def test_a_label_out_of_range_is_named_with_its_sample(
    offset: int, sample: int, net: Net, cli: Run, tmp_path: Path
) -> None:
    arguments = line("choose", net.model, net, tmp_path, net.test)
    ran = cli(*arguments, "--label-offset", offset)
    refused(ran, f"test.npz[{sample}]", "--label-offset")
    assert f"the label is {sample} with offset {offset}" in ran.last


def test_measure_names_the_label_too(net: Net, cli: Run, tmp_path: Path) -> None:
    refused(cli(*line("measure", net.model, net, tmp_path), "--label-offset", 1), "[9]", "--label-offset")


def test_samples_in_both_sets_are_said_and_the_run_goes_on(net: Net, cli: Run, tmp_path: Path) -> None:
    arguments = ["choose", net.model, "--data", net.test, "--calibration-data", net.test, "-o", tmp_path / "run"]
    ran = cli(*arguments, "--formats", "fp32", "--engine", "onnxruntime", "--time-budget", "1s", "--json")
    assert ran.code == 0
    [warning] = [entry for entry in ran.json["warnings"] if "calibration samples as well" in entry]
    assert "120 of 120" in warning
    assert f"warning: {warning}" in ran.err


def test_a_few_unreadable_images_are_counted_and_left_out(net: Net, cli: Run, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for index in range(200):
        jpeg(images / f"{index:03}.jpg", index)
    broken = images / "007.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (images / "100.jpg").write_bytes(b"no image")
    ran = cli(*line("calibrate", net.model, net, tmp_path, images), *SIZE, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["samples"] == 198
    [warning] = [entry for entry in ran.err.splitlines() if entry.startswith("warning: ")]
    assert "2 samples" in warning
    assert "007.jpg" in warning
    (images / "150.jpg").write_bytes(b"")
    refused(cli(*line("calibrate", net.model, net, tmp_path, images), *SIZE), "007.jpg", "")


@pytest.mark.parametrize("verb", ["calibrate", "compare"])
def test_too_many_unreadable_images_stop_the_run(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    for index in range(10):
        jpeg(tmp_path / "images" / f"{index}.jpg", index)
    cut = tmp_path / "images" / "4.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    refused(cli(*line(verb, net.model, net, tmp_path, tmp_path / "images"), *SIZE), "4.jpg", "")
    assert not (tmp_path / "out.onnx").exists()


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "place", "fix"),
    [
        (("--max-drop", "lots"), "--max-drop", "1%"),
        (("--max-drop", "nan"), "--max-drop", "100%"),
        (("--max-drop", "-1%"), "--max-drop", "100%"),
        (("--max-drop", "150%"), "--max-drop", "100%"),
        (("--confidence", "95"), "--confidence", "0.95"),
        (("--confidence", "nan"), "--confidence", "0.95"),
        (("--max-latency-ms", "nan"), "--max-latency-ms", ""),
        (("--max-latency-ms", "-1"), "--max-latency-ms", ""),
        (("--time-budget", "soon"), "--time-budget", "10m"),
        (("--time-budget", "0"), "--time-budget", "10m"),
        (("--formats", "fp32,int4"), "--formats", "int8"),
        (("--formats", ""), "--formats", "int8"),
        (("--metric", "speed"), "--metric", "top1"),
        (("--metric", "nomodule:score"), "--metric", "module:function"),
        (("--metric", "map"), "map", "COCO"),
        (("--device", "GPU"), "--device", "CPU"),
        (("--device", "CPU.7"), "--device", "CPU"),
        (("--device", "AUTO:GPU"), "--device", "CPU"),
        (("--mean", "1,2"), "mean", "one per colour"),
        (("--mean", "red"), "--mean", "104,117,123"),
        (("--scale", "0"), "scale", "1"),
        (("--scale", "nan"), "--scale", ""),
        (("--resize", "big"), "--resize", "224"),
        (("--crop", "0"), "--crop", "224"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_without_sense_is_named(
    options: tuple[str, str], place: str, fix: str, net: Net, cli: Run, tmp_path: Path
) -> None:
    quick = ("--engine", "openvino", "--formats", "fp32", "--time-budget", "1s")
    refused(cli(*line("choose", net.model, net, tmp_path, net.test), *quick, *options), place, fix)
    assert not (tmp_path / "run" / "decision.json").exists()


def test_a_metric_that_does_not_fit_is_known_before_the_work(net: Net, cli: Run, tmp_path: Path) -> None:
    quick = ("--engine", "onnxruntime", "--formats", "fp32", "--time-budget", "1s")
    for name in ("map", "miou"):
        ran = cli(*line("choose", net.model, net, tmp_path, net.test), *quick, "--metric", name)
        assert ran.code == 2
        assert not any(entry.startswith("memory") for entry in ran.err.splitlines())


@pytest.mark.parametrize(
    ("verb", "options", "place", "choices"),
    [
        ("choose", ("--engine", "tensorrt"), "--engine", "openvino"),
        ("choose", ("--objective", "beauty"), "--objective", "throughput"),
        ("calibrate", ("--method", "magic"), "--method", "percentile"),
        ("measure", ("--precision", "f8"), "--precision", "bf16"),
        ("convert", ("--to", "int4"), "--to", "fp16"),
        ("calibrate", ("--channels", "cmyk"), "--channels", "bgr"),
        ("calibrate", ("--samples", "0"), "--samples", "x>=1"),
        ("calibrate", ("--threads", "0"), "--threads", "x>=1"),
        ("compare", ("--seed", "x"), "--seed", "integer"),
    ],
)
def test_a_choice_that_is_none_lists_the_choices(
    verb: str, options: tuple[str, str], place: str, choices: str, net: Net, cli: Run, tmp_path: Path
) -> None:
    ran = cli(*line(verb, net.model, net, tmp_path), *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("fewbits: ")
    assert len(ran.err.splitlines()) == 1
    assert place in ran.last
    assert choices in ran.last


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nosuchverb",), "nosuchverb"),
        (("--nosuch",), "--nosuch"),
        (("choose",), "MODEL"),
        (("choose", "m.onnx"), "--data"),
        (("calibrate", "m.onnx", "--data", "d"), "--out"),
        (("convert", "m.onnx", "--out"), "--out"),
        (("measure",), "MODEL"),
    ],
)
def test_a_command_line_that_is_none_is_one_line(arguments: tuple[str, ...], word: str, cli: Run) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("fewbits: ")
    assert len(ran.err.splitlines()) == 1
    assert word in ran.last


@pytest.mark.parametrize("verb", ["calibrate", "measure"])
def test_an_unknown_device_lists_what_there_is(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    refused(cli(*line(verb, net.model, net, tmp_path), "--device", "NPU"), "--device", "CPU")


@pytest.mark.parametrize(
    ("shape", "place", "fix"),
    [
        ("nonsense", "--input-shape", "name:1,3,224,224"),
        ("other:1,3,32,32", "--input-shape", "image"),
        ("image:1,3,32", "--input-shape", ""),
        ("image:1,4,32,32", "--input-shape", ""),
        ("image:1,3,0,32", "--input-shape", ""),
        (f"image:1,3,{10**20},32", "--input-shape", ""),
        ("image:1,3,9999999,9999999", "--input-shape", ""),
    ],
)
def test_an_input_shape_without_sense_is_named(
    shape: str, place: str, fix: str, head: np.ndarray, cli: Run, tmp_path: Path
) -> None:
    path = tmp_path / "free.onnx"
    onnx.save(build_net(head, height="H", width="W"), path)
    refused(cli("convert", path, "-o", tmp_path / "out.onnx", "--input-shape", shape), place, fix)
    assert left_behind(tmp_path) == ["free.onnx"]


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ('size = 3\nchannels = "rgb"\n', "'size'", "resize"),
        ("mean = [1.0, 2.0]\n", "mean", "one per colour"),
        ("scale = 0.0\n", "scale", "1"),
        ('channels = "cmyk"\n', "channels", "channels"),
        ("hello", "TOML", ""),
    ],
)
def test_a_preprocessing_file_is_read_strictly(
    text: str, place: str, fix: str, net: Net, cli: Run, tmp_path: Path
) -> None:
    (tmp_path / "steps.toml").write_text(text)
    ran = cli(*line("calibrate", net.model, net, tmp_path), "--preprocess", tmp_path / "steps.toml")
    refused(ran, place, fix)
    assert "steps.toml" in ran.last


def test_a_crop_larger_than_the_image_is_named_with_the_image(net: Net, cli: Run, tmp_path: Path) -> None:
    jpeg(tmp_path / "images" / "small.jpg", 0, side=20)
    ran = cli(*line("calibrate", net.model, net, tmp_path, tmp_path / "images"), *SIZE, "--crop", SIDE)
    refused(ran, "small.jpg", "")


def test_a_crop_that_does_not_fit_the_model_is_named(net: Net, cli: Run, tmp_path: Path) -> None:
    jpeg(tmp_path / "images" / "a.jpg", 0)
    ran = cli(*line("calibrate", net.model, net, tmp_path, tmp_path / "images"), *SIZE, "--crop", 16)
    refused(ran, "images", "--crop")


def test_samples_bounds_calibration_too(net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli(*line("calibrate", net.model, net, tmp_path), "--samples", 5, "--json")
    assert ran.json["samples"] == 5


# --- output -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["choose", "calibrate", "convert"])
def test_output_below_a_file_is_refused(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    name = "run" if verb == "choose" else "out.onnx"
    for out in (tmp_path / "file" / name, tmp_path / "file" / "deeper" / name):
        refused(cli(*line(verb, net.model, net, tmp_path)[:-1], out), out, "-o")
    assert (tmp_path / "file").read_text() == "mine"
    assert left_behind(tmp_path) == ["file"]


def test_a_folder_where_the_model_should_go_is_refused(net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.mkdir()
    for verb in ("calibrate", "convert"):
        refused(cli(*line(verb, net.model, net, tmp_path)), out, "-o")


def test_a_file_where_the_run_should_go_is_refused(net: Net, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    refused(cli(*line("choose", net.model, net, tmp_path)), tmp_path / "run", "-o")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("verb", ["calibrate", "convert"])
def test_an_unknown_kind_of_output_is_refused(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    refused(cli(*line(verb, net.model, net, tmp_path)[:-1], tmp_path / "out.tflite"), "-o", "OUT.onnx")


def test_an_output_that_cannot_be_is_known_before_the_work(net: Net, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ran = cli(*line("calibrate", net.model, net, tmp_path)[:-1], tmp_path / "file" / "out.onnx")
    assert ran.code == 2
    assert not any(entry.startswith("calibration") for entry in ran.err.splitlines())


def _no_space(folder: Path, writer: Callable[..., object]) -> Callable[..., object]:
    """``writer`` on a disk that is full below ``folder``; elsewhere it does as before."""

    def write(*args: object, **kwargs: object) -> object:
        for arg in args:
            place = arg if isinstance(arg, str | Path) else getattr(arg, "name", None)
            if isinstance(arg, int) or (isinstance(place, str | Path) and Path(place).is_relative_to(folder)):
                raise OSError(errno.ENOSPC, "No space left on device")
        return writer(*args, **kwargs)

    return write


@pytest.mark.parametrize(
    ("verb", "writer"),
    [
        ("convert", "pathlib:Path.write_bytes"),
        ("calibrate", "pathlib:Path.write_bytes"),
        ("calibrate", "numpy:savez_compressed"),
        ("calibrate", "pathlib:Path.write_text"),
        ("choose", "pathlib:Path.write_bytes"),
        ("choose", "numpy:savez_compressed"),
        ("choose", "os:fsync"),
        ("choose", "shutil:copyfile"),
    ],
)
def test_a_full_disk_leaves_nothing_half_written(
    verb: str, writer: str, net: Net, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = line(verb, net.model, net, tmp_path)
    if verb == "choose":
        formats = "fp32" if writer == "shutil:copyfile" else "fp32,int8"
        options = ("--method", "minmax", "--engine", "onnxruntime", "--time-budget", "1s")
        arguments = [*arguments, "--formats", formats, *options]
    module, _, name = writer.partition(":")
    owner = functools.reduce(getattr, name.split(".")[:-1], import_module(module))
    name = name.rpartition(".")[2]
    monkeypatch.setattr(owner, name, _no_space(tmp_path, getattr(owner, name)))
    ran = cli(*arguments)
    monkeypatch.undo()
    refused(ran, tmp_path, "free some space")
    left = left_behind(tmp_path)
    assert not [name for name in left if name.startswith(".fewbits-")]
    if verb == "choose":
        assert not {"model.onnx", "decision.json"} & set(left)
    else:
        assert left == []


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """OpenVINO's writer meets a real limit: no file may grow beyond 64 KiB (it fails as on a full disk)."""
    import openvino

    save, limits = openvino.save_model, resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*args: object, **kwargs: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            save(*args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(openvino, "save_model", limited)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("verb", ["calibrate", "convert"])
def test_an_ir_that_cannot_be_written_whole_is_not_written(verb: str, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    refused(cli(*line(verb, net.model, net, tmp_path)[:-1], out), out, "-o")
    assert left_behind(tmp_path) == []


def test_a_full_temporary_folder_is_the_persons_to_mend(
    net: Net, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", _no_space(Path(tempfile.gettempdir()), Path.write_bytes))
    ran = cli("compare", net.model, net.model, "--data", net.test)
    refused(ran, "", "space")


def test_choose_leaves_alone_what_is_not_its_own(net: Net, cli: Run, tmp_path: Path) -> None:
    """``-o .`` beside the model: the FP32 model and other people's folders survive."""
    model = tmp_path / "model.onnx"
    model.write_bytes(net.model.read_bytes())
    mine = tmp_path / "candidates" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    arguments = ["choose", model, "--data", net.test, "--calibration-data", net.calibration, "-o", tmp_path]
    cli(*arguments, "--formats", "fp32", "--engine", "onnxruntime", "--time-budget", "1s")
    assert model.read_bytes() == net.model.read_bytes()
    assert mine.exists()


def test_calibrate_does_not_overwrite_its_own_input(net: Net, cli: Run, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(net.model.read_bytes())
    refused(cli("calibrate", model, "--data", net.calibration, "--method", "minmax", "-o", model), model, "-o")
    assert model.read_bytes() == net.model.read_bytes()


# --- statistics and resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off", b"PK\x05\x06" + bytes(18)])
def test_statistics_that_are_none_are_named(content: bytes, net: Net, cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    path.write_bytes(content)
    ran = cli(*line("calibrate", net.model, net, tmp_path), "--statistics", path)
    refused(ran, path, "remove it")
    assert path.read_bytes() == content


def test_statistics_that_were_cut_off_are_named(net: Net, cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    assert cli(*line("calibrate", net.model, net, tmp_path), "--statistics", path).code == 0
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + b"\xff" * 64 + whole[middle + 64 :]):
        path.write_bytes(content)
        refused(cli(*line("calibrate", net.model, net, tmp_path), "--statistics", path), path, "remove it")


def test_data_is_no_statistics_file(net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli(*line("calibrate", net.model, net, tmp_path), "--statistics", net.test)
    refused(ran, net.test, "remove it")


def test_resume_refuses_another_run(net: Net, cli: Run, tmp_path: Path) -> None:
    def choose(*options: str) -> Ran:
        arguments = line("choose", net.model, net, tmp_path, net.test)
        return cli(*arguments, "--engine", "onnxruntime", "--time-budget", "1s", *options)

    assert choose("--formats", "fp32").code == 0
    for other in (
        ("--formats", "fp32,int8"),
        ("--formats", "fp32", "--seed", "1", "--samples", "50"),
        ("--formats", "fp32", "--metric", "top5"),
        ("--formats", "fp32", "--threads", "1"),
    ):
        refused(choose("--resume", *other), "journal.jsonl", "leave --resume out")
    assert (tmp_path / "run" / "decision.json").exists()
    assert choose("--resume", "--formats", "fp32").code == 0


def test_resume_without_a_journal_trusts_no_old_candidate(net: Net, head: np.ndarray, cli: Run, tmp_path: Path) -> None:
    """A folder whose journal is gone holds nothing that can be relied on."""

    def choose(model: Path, *options: str) -> Ran:
        arguments = line("choose", model, net, tmp_path, net.test)
        options = (*options, "--formats", "fp32", "--engine", "onnxruntime", "--time-budget", "1s", "--json")
        return cli(*arguments, *options)

    def halve(weights: dict[str, np.ndarray]) -> None:
        weights["block1.w"] *= 0.5

    other = tmp_path / "other.onnx"
    onnx.save(build_net(head, doctor=halve), other)
    assert choose(net.model).code == 0
    before = (tmp_path / "run" / "candidates" / "fp32.onnx").read_bytes()
    (tmp_path / "run" / "journal.jsonl").unlink()
    assert choose(other, "--resume").code == 0
    assert (tmp_path / "run" / "candidates" / "fp32.onnx").read_bytes() != before


# --- names ------------------------------------------------------------------------------------------------------

NAMES = ["[red].onnx", "[bold] 100%.onnx", "模型 é ☃.onnx", "x:y.onnx", "q'u\"o`te.onnx", "a\nb.onnx"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_shown_as_it_is(name: str, net: Net, cli: Run, tmp_path: Path) -> None:
    model = tmp_path / name
    model.write_bytes(net.model.read_bytes())
    ran = cli("calibrate", model, "--data", net.calibration, "--method", "minmax", "-o", tmp_path / f"8{name}")
    assert ran.code == 0, ran.err
    assert "".join(f"8{name}".split()) in "".join(ran.out.split())
    assert (tmp_path / f"8{name}").is_file()
    assert cli("compare", model, tmp_path / f"8{name}", "--data", net.calibration).code == 0


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_one_line_in_an_error(name: str, net: Net, cli: Run, tmp_path: Path) -> None:
    bad = tmp_path / name
    bad.write_text("no model")
    refused(cli("convert", bad, "-o", tmp_path / "out.onnx"), " ".join(str(bad).split()), "export it again")


def test_a_file_name_that_is_no_text_is_no_fault(net: Net, tmp_path: Path) -> None:
    model = tmp_path / "caf\udce9.onnx"
    model.write_bytes(net.model.read_bytes())
    for arguments in (
        ["convert", model, "-o", tmp_path / "out.onnx", "--json"],
        ["convert", model, "-o", tmp_path / "out\udce9.onnx"],
        ["convert", tmp_path / "nowhere\udce9.onnx", "-o", tmp_path / "out.onnx"],
    ):
        ran = run_in_process(*arguments)
        assert "Traceback" not in ran.err
        assert ran.code in (0, 2), ran.err
