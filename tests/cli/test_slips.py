"""Labels that are one off: ``choose`` refuses before any work, ``measure`` measures and warns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small import CLASSES, Net, Run, load


@pytest.fixture
def shifted(net: Net, tmp_path: Path) -> Path:
    """The test set without its last class, labels one too high: all of them are classes of the model."""
    arrays = load(net.test)
    kept = arrays["y"] < CLASSES - 1
    np.savez(tmp_path / "shifted.npz", x=arrays["x"][kept], y=arrays["y"][kept] + 1)
    return tmp_path / "shifted.npz"


def test_choose_refuses_and_names_the_option(net: Net, shifted: Path, cli: Run, tmp_path: Path) -> None:
    ran = cli("choose", net.model, "--data", shifted, "--calibration-data", net.calibration, "-o", tmp_path / "run")
    assert ran.code == 2
    assert "near the 10.0% of guessing; with --label-offset -1 it is" in ran.last
    assert ran.last.endswith("- give --label-offset -1")
    assert not (tmp_path / "run").exists()


def test_measure_warns_of_it(net: Net, shifted: Path, cli: Run) -> None:
    ran = cli("measure", net.model, "--data", shifted, "--engine", "onnxruntime", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["models"][0]["accuracy"] < 0.2
    assert "with --label-offset -1 it is" in ran.err
    ran = cli("measure", net.model, "--data", net.test, "--engine", "onnxruntime", "--json")
    assert "--label-offset" not in ran.err
