"""What a person gets wrong ends with exit code 2 and one line that says what, where, and how to fix it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from small import SIDE, Net, Ran

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
