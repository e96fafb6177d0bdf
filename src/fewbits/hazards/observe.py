"""The extremes of all activations on some samples, for the checks to read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import TRIALS, Options
from fewbits.graph import queries
from fewbits.graph.taps import MAXIMUM, MINIMUM, OUTPUT, tapped
from fewbits.hazards.records import Extremes


def observe(model: ir.Model, samples: Iterable[Sample]) -> dict[str, Extremes]:
    """Lowest and highest number of every float activation whose sizes are known, in FP32.

    Activations that are infinite or NaN in FP32 are left out: FP16 is not what ails them.

    Raises:
        EngineError: the model cannot be run.
    """
    names = [value.name or "" for value in watched(model)]
    if not names:
        return {}
    probe, layout = tapped(model, names, 0)
    session = TRIALS.compile(probe, Options())
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    lows, highs = layout.positions(MINIMUM), layout.positions(MAXIMUM)
    signed = [i for i, tap in enumerate(layout.taps) if MINIMUM in tap.places]
    try:
        for sample in samples:
            found = session.run(sample.inputs)[OUTPUT]
            for index, cut in zip(signed, lows, strict=True):
                low[index] = min(low[index], found[cut].min())
            for index, cut in enumerate(highs):
                high[index] = max(high[index], found[cut].max())
    finally:
        session.close()
    unsigned = sorted(set(range(len(names))) - set(signed))
    low[unsigned] = 0.0
    return {
        name: Extremes(float(a), float(b))
        for name, a, b in zip(names, low, high, strict=True)
        if np.isfinite(a) and np.isfinite(b)
    }


def watched(model: ir.Model) -> list[ir.Value]:
    """Float activations of the main graph, inputs included, that hold numbers and whose sizes are known."""
    made = [output for node in model.graph for output in node.outputs]
    return [v for v in (*model.graph.inputs, *made) if v.dtype == ir.DataType.FLOAT and _sized(v)]


def _sized(value: ir.Value) -> bool:
    shape = queries.dims(value)
    return shape is not None and None not in shape[1:] and 0 not in shape
