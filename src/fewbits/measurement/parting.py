"""Where two engines part on the same FP32 graph: the first node whose result differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fewbits import frontends
from fewbits.engines import ENGINES, Arrays
from fewbits.errors import EngineError, ModelError
from fewbits.graph.files import file_bytes
from fewbits.graph.queries import node_name
from fewbits.measurement.deviation import run_all
from fewbits.measurement.feeds import Case
from fewbits.measurement.layers import float_values, with_outputs
from fewbits.numerics import NoiseSum

# All values of all cases are held at once.
_MOST_BYTES: Final = 100_000_000


def parting(path: Path, cases: Sequence[Case], least_db: float) -> str:
    """`` from node conv1 (Conv) on``, or nothing where that cannot be told."""
    if not path.is_file() or file_bytes(path) > _MOST_BYTES:
        return ""
    try:
        model = frontends.load(path)
        tapped = with_outputs(model, float_values(model))
        feeds = [case.feed for case in cases]
        expected, got = (
            run_all(tapped, engine, feeds, free=True) for engine in (ENGINES["onnxruntime"], ENGINES["openvino"])
        )
    except (EngineError, ModelError):
        return ""
    for node in model.graph:
        if any(_differs(value.name or "", expected, got, least_db) for value in node.outputs):
            return f" from node {node_name(node)} ({node.op_type}) on"
    return ""


def _differs(name: str, expected: Sequence[Arrays], got: Sequence[Arrays], least_db: float) -> bool:
    noise = NoiseSum()
    for one, other in zip(expected, got, strict=True):
        if name in one and name in other:
            if one[name].shape != other[name].shape:
                return True
            noise.add(one[name], other[name])
    return noise.count > 0 and noise.sqnr_db < least_db
