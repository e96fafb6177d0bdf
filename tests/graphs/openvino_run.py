"""A file through OpenVINO, its free sizes as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.libraries import openvino

from .steps import Array

Arrays = dict[str, Array]


def run_openvino(path: Path, feeds: Sequence[Arrays], names: Sequence[str]) -> list[Arrays]:
    """In FP32 arithmetic, on one thread; outputs under the names of the graph."""
    core = openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.read_model(str(path))
    ports = {_named(port.names, feeds[0]): port for port in model.inputs}
    order = [_named(port.names, names) for port in model.outputs]
    places = {name: index for index, name in enumerate(ports)}
    compiled = core.compile_model(model, "CPU", settings)
    found = []
    for feed in feeds:
        given = {places[name]: array for name, array in feed.items() if name in places}
        got = compiled(given, share_inputs=False)  # shared, it writes to the array of the run before
        found.append({name: np.array(got[index]) for index, name in enumerate(order)})
    return found


def _named(names: Any, known: Any) -> str:
    return next((str(name) for name in sorted(names) if name in known), ",".join(sorted(names)))
