"""A calibrated model as the IR of 2019: the corrected FP32 network, statistics of every layer, levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import InputError
from fewbits.frontends.legacy_ir.write import VERSIONS, draft, save
from fewbits.graph import queries
from fewbits.quantization.workshop import Tuned

SIZE_NOTE = (
    "the weights in {name} stay FP32: the CPU plugin of 2019 made them INT8 when it loaded the file, so the file "
    "does not shrink"
)


def check_version(version: int | None, out: Path) -> None:
    """Raise ``InputError`` for a version that cannot be written, or one for a file that is no IR."""
    if version is None:
        return
    if version not in VERSIONS:
        known = ", ".join(map(str, VERSIONS))
        raise InputError(f"no IR of version {version} is written", where="--ir-version", fix=f"one of {known}")
    if out.suffix != ".xml":
        raise InputError(f"'{out}' is no IR", where="--ir-version", fix="name OUT.xml with -o")


def check_layers(model: ir.Model, version: int) -> None:
    """Raise ``ModelError`` for an operator no layer of 2019 can say, before any work is done."""
    draft(model, version, frozenset(), {})


def values_to_state(model: ir.Model) -> list[str]:
    """The inputs, and what each node gives: statistics are of every layer."""
    made = (value for node in model.graph for value in node.outputs)
    return [
        value.name or ""
        for value in (*model.graph.inputs, *made)
        if queries.is_float(value) and queries.dims(value) and not queries.is_constant(value)
    ]


def save_2019(tuned: Tuned, path: Path, version: int) -> None:
    """Write ``path`` and its ``.bin``.

    Statistics are the extremes of each channel, cut to the range that the method found for the whole tensor: they are
    all that a reader has to take scales from.

    Raises:
        ModelError: an operator that no layer of 2019 can say.
        OutputError: the files cannot be written.
    """
    ranges = tuned.statistics.ranges(tuned.recipe.method, symmetric=True)
    extremes = {
        name: (_cut(value.minimum, ranges[name]), _cut(value.maximum, ranges[name]))
        for name, value in tuned.statistics.values.items()
    }
    save(tuned.corrected, path, version=version, integer=tuned.plan.integer, extremes=extremes)


def _cut(extremes: NDArray[np.float32], span: tuple[float, float]) -> NDArray[np.float64]:
    cut: NDArray[np.float64] = np.clip(extremes.astype(np.float64), *span)
    return cut
