"""The closer look: kernels find their layers, histograms keep their counts, pictures stay small."""

from __future__ import annotations

import base64
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fewbits import DataOptions
from fewbits.calibration.statistics import ValueStatistics
from fewbits.engines import OpTime
from fewbits.frontends.source import Source
from fewbits.numerics import Histogram
from fewbits.report import verdict
from fewbits.selection.closeup import read_closeup
from fewbits.selection.differences import thumbnail
from fewbits.selection.layers import binned, rows_of, share_out
from fewbits.selection.records import Decision
from fewbits.verbs.command import command_line
from models import network, residual


def test_an_activation_function_joins_the_layer_it_alone_reads() -> None:
    rows = [[node.name for node in row.nodes] for row in rows_of(residual())]
    assert ["stem", "relu0"] in rows
    assert ["add", "relu2"] in rows
    assert ["conv2"] in rows
    shared = network(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
             [conv] c = Conv<pads=[1,1,1,1]>(x, w)
             [relu] r = Relu(c)
             [sum] y = Add(c, r) }""",
        w=(4, 3, 3, 3),
    )
    assert [[node.name for node in row.nodes] for row in rows_of(shared)] == [["conv"], ["relu"], ["sum"]]


def test_kernels_find_their_layer_by_the_beginning_of_their_name() -> None:
    rows = rows_of(residual())
    index = {row.nodes[0].name: i for i, row in enumerate(rows)}
    ops = [
        OpTime("conv1/WithoutBiases", "Convolution", "i8", 5.0),
        OpTime("r2_nchwc", "Conv", "f32", 3.0),
        OpTime("add", "Add", "f32", 1.0),
        OpTime("conv10_token_3", "Conv", "i8", 2.0),
        OpTime("Reorder", "Reorder", "f32", 0.5),
    ]
    times, other = share_out(ops, rows)
    assert times == {index["conv1"]: (5.0, "i8"), index["add"]: (4.0, "f32")}
    assert other == 2.5
    assert share_out([], rows) == ({}, None)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_a_histogram_on_the_page_has_few_bins_and_all_counts(scale: float) -> None:
    values = np.random.default_rng(0).normal(0, scale, 5000).astype(np.float32)
    histogram = Histogram.empty()
    histogram.add(values)
    held = np.array([values.min()]), np.array([values.max()])
    made = binned(ValueStatistics(*held, np.zeros(1), np.zeros(1), histogram), "v", None)
    assert 16 < len(made.counts) <= 64
    assert sum(made.counts) == 5000
    edges = made.start + made.width * np.arange(len(made.counts) + 1)
    assert tuple(np.histogram(values, edges)[0]) == made.counts
    assert edges[0] <= values.min() < edges[1]


def test_an_empty_histogram_is_one_empty_bin() -> None:
    nothing = ValueStatistics(
        np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros(1), np.zeros(1), Histogram.empty()
    )
    assert binned(nothing, "v", None).counts == (0,)


@pytest.mark.parametrize("size", [(8, 8), (1200, 900), (3, 4000)])
def test_pictures_are_small(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    head, _, body = thumbnail(Image.fromarray(noise)).partition(",")
    assert head == "data:image/jpeg;base64"
    data = base64.b64decode(body)
    assert len(data) <= 6000
    with Image.open(io.BytesIO(data)) as image:
        assert max(image.size) <= 112
        assert image.width <= size[0]


def test_the_closeup_of_a_real_run(run: Path) -> None:
    found = read_closeup(run)
    assert found is not None
    assert found.notes == ()
    assert found.compared == 48
    convolutions = [layer for layer in found.layers if layer.op.startswith("Conv")]
    assert len(convolutions) > 20
    for layer in convolutions:
        assert layer.format == "i8"
        assert layer.time_us is not None
        assert layer.reference_time_us is not None
        assert layer.sqnr_db is not None
        assert 0 < layer.sqnr_db < 100
    for layer in found.layers:
        if layer.activation and layer.activation.clip and layer.low is not None and layer.high is not None:
            low, high = layer.activation.clip
            assert high - low > 0.3 * (layer.high - layer.low)
    assert any(layer.activation for layer in found.layers)
    assert found.differences
    for sample in found.differences:
        assert sample.expected != sample.got
        assert sample.picture.startswith("data:image/jpeg;base64,")


def test_the_command_is_one_a_shell_takes_apart_again() -> None:
    data = DataOptions(data="my data/val.csv", label_offset=1, preprocess=Path("p.toml"))
    made = command_line(
        "choose",
        Source(Path("it's.onnx")),
        data,
        max_drop=0.01,
        engine="",
        threads=None,
        emulate=True,
        engine_option=("A=1", "B=2"),
    )
    assert shlex.split(made) == [
        "fewbits", "choose", "it's.onnx", "--data", "my data/val.csv", "--preprocess", "p.toml", "--label-offset", "1",
        "--max-drop", "0.01", "--emulate", "--engine-option", "A=1", "--engine-option", "B=2",
    ]  # fmt: skip
    caffe = Source(Path("a.prototxt"), weights=Path("a b.caffemodel"))
    assert shlex.split(command_line("choose", caffe, DataOptions()))[2:] == [
        "a.prototxt",
        "--weights",
        "a b.caffemodel",
    ]
    drawn = Source(Path("a.prototxt"), random_weights=True)
    assert shlex.split(command_line("choose", drawn, DataOptions()))[2:] == ["a.prototxt", "--random-weights"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_verdict_fits_one_screen(
    decided: Decision, run: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    console = Console(width=width, height=height, force_terminal=True, color_system=None, record=True)
    monkeypatch.setattr(verdict, "screen", lambda: console)
    with console.capture() as captured:
        verdict.show_decision(decided, Path("run"), Path("run/report.html"))
    lines = captured.get().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert lines[-1].rstrip() == "Report: run/report.html"
    assert sum(line.startswith("→ ") for line in lines) == 1
    assert any("times" in line for line in lines)
    for outcome in decided.outcomes:
        assert any(outcome.candidate.name in line for line in lines)
