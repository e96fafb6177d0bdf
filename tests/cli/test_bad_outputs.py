"""Outputs that cannot be written are refused or leave nothing half written behind."""

from __future__ import annotations

import errno
import functools
import resource
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from mistakes import left_behind, line, refused
from small import Net, Run


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
