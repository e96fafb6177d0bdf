"""Data that does not fit, cannot be read or is labelled wrongly is named with its sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mistakes import SIZE, jpeg, line, refused
from small import Net, Run, load


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


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
    "text as npz": (lambda f: _file(f / "text.npz", b"hello"), "text.npz", "numpy.savez"),
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
    "unknown form": (lambda f: _file(f / "data.foo", b""), "data.foo", ".csv"),
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
