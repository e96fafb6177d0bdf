"""The README's picture comes from a run's folder."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

SCRIPT = Path(__file__).parents[2] / "scripts" / "readme_picture.py"


def test_the_picture_is_drawn_from_a_run(run: Path, tmp_path: Path) -> None:
    runpy.run_path(str(SCRIPT))["main"](run, tmp_path / "picture.svg")
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    assert root.tag.endswith("svg")
    text = "".join(root.itertext())
    assert "chosen" in text
    assert "model file, MB" in text  # the run is decided by size
