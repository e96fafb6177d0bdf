"""``demo``: the main job on the example that ships with the package."""

from __future__ import annotations

from pathlib import Path

from fewbits import example
from fewbits.progress import Progress
from fewbits.selection.records import Decision
from fewbits.verbs.choose import choose
from fewbits.verbs.inputs import DataOptions


def demo(*, out: str | Path = "fewbits-demo", progress: Progress | None = None) -> Decision:
    """Choose a format for a small network that reads handwritten digits.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    data = DataOptions(data=example.test(), calibration_data=example.calibration(), preprocess=example.preprocess())
    return choose(example.model(), data, out=out, progress=progress)
