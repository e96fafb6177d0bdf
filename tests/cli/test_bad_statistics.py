"""Statistics and runs to resume are trusted only where they are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mistakes import line, refused
from small import Net, Ran, Run, build_net


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
