"""Any file name is shown as it is, on one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistakes import refused
from small import Net, Run, run_in_process

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
