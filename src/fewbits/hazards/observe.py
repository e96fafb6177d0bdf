"""The extremes of all activations on some samples, for the checks to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.data import Sample
from fewbits.engines import TRIALS, Options
from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.graph.taps import EXTREMES, MAXIMUM, MINIMUM, OUTPUT, TapLayout, tapped
from fewbits.hazards.records import Extremes


def observe(model: ir.Model, samples: Iterable[Sample]) -> dict[str, Extremes]:
    """Lowest and highest number of every float activation of the main graph, in FP32.

    Activations that are infinite or NaN in FP32 are left out: FP16 is not what ails them.

    Raises:
        EngineError: the model cannot be run.
    """
    values = _floats(model)
    if not values:
        return {}
    # Joined reductions need sizes; where one is free, each value is reduced on its own.
    probe, layout = tapped(model, [v.name or "" for v in values], 0) if all(map(_sized, values)) else (None, None)
    session = TRIALS.compile(_reduced(model, values) if probe is None else probe, Options())
    found: dict[str, Extremes] = {}
    try:
        for sample in samples:
            outputs = session.run(sample.inputs)
            if layout is not None:
                _joined(found, outputs[OUTPUT], layout)
                continue
            for value in values:
                low, high = (outputs[f"{value.name}.{op}"] for op in EXTREMES)
                _widen(found, value.name or "", float(low), float(high))
    finally:
        session.close()
    return {name: seen for name, seen in found.items() if np.isfinite(seen.low) and np.isfinite(seen.high)}


def _joined(found: dict[str, Extremes], numbers: NDArray[np.float32], layout: TapLayout) -> None:
    """Add the extremes of all values whose sizes are known; one that cannot be negative has no minimum taken."""
    for tap in layout.taps:
        low = numbers[tap.places[MINIMUM]].min() if MINIMUM in tap.places else 0.0
        _widen(found, tap.name, float(low), float(numbers[tap.places[MAXIMUM]].max()))


def _widen(found: dict[str, Extremes], name: str, low: float, high: float) -> None:
    known = found.get(name, Extremes(low, high))
    # NumPy's minimum and maximum keep NaN.
    found[name] = Extremes(float(np.minimum(known.low, low)), float(np.maximum(known.high, high)))


def _reduced(model: ir.Model, values: Sequence[ir.Value]) -> ir.Model:
    """A copy whose outputs are the extremes of values of any size, infinite where a value is empty."""
    probe = model.clone()
    copies = {v.name: v for node in probe.graph for v in node.outputs} | {v.name: v for v in probe.graph.inputs}
    probe.graph.outputs.clear()
    flat = add_initializer(probe, "fewbits_flat", np.array([-1], np.int64))
    for op, neutral in zip(EXTREMES, (np.inf, -np.inf), strict=True):
        nothing = add_initializer(probe, f"fewbits_{op}", np.array([neutral], np.float32))
        for value in values:
            line = ir.node("Reshape", [copies[value.name], flat])
            joined = ir.node("Concat", [line.outputs[0], nothing], {"axis": 0})
            node = ir.node(op, [joined.outputs[0]], {"keepdims": 0})
            result = node.outputs[0]
            result.name, result.shape = f"{value.name}.{op}", ir.Shape([])
            result.type = ir.TensorType(ir.DataType.FLOAT)
            probe.graph.extend([line, joined, node])
            probe.graph.outputs.append(result)
    return probe


def watched(model: ir.Model) -> list[ir.Value]:
    """Float activations of the main graph, inputs included, that hold numbers and whose sizes are known."""
    return [value for value in _floats(model) if _sized(value)]


def _floats(model: ir.Model) -> list[ir.Value]:
    made = [output for node in model.graph for output in node.outputs]
    return [
        v
        for v in (*model.graph.inputs, *made)
        if v.name and v.dtype == ir.DataType.FLOAT and isinstance(v.type, ir.TensorType)
    ]


def _sized(value: ir.Value) -> bool:
    shape = queries.dims(value)
    return shape is not None and None not in shape[1:] and 0 not in shape
