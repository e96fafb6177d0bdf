"""Options, preprocessing and command lines without sense are refused before the work begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mistakes import SIZE, jpeg, left_behind, line, refused
from small import SIDE, Net, Run, build_net


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
