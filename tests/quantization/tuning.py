"""What tuning works with, for tests: statistics of a network on its samples, and a bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.collect import collect
from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import ENGINES, TRIALS, Options
from fewbits.graph import queries
from fewbits.numerics import NoiseSum
from fewbits.quantization.apply import apply
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.tune import Bench
from models import node, on_onnxruntime

ONE_THREAD = Options(threads=1)
MINMAX = Recipe(method="minmax", corrections=())


def watched(model: ir.Model, drawn: Sequence[Sample]) -> Statistics:
    names = values_to_watch(model, MINMAX, [engine.capability for engine in ENGINES.values()])
    return collect(model, names, drawn, len(drawn), TRIALS, ONE_THREAD)


def bench(drawn: Sequence[Sample]) -> Bench:
    return Bench(TRIALS, ONE_THREAD, drawn, lambda model: watched(model, drawn))


def planned(model: ir.Model, drawn: Sequence[Sample]) -> QuantPlan:
    ranges = watched(model, drawn).ranges("minmax", symmetric=False)
    return plan(model, ranges, MINMAX, TRIALS.capability)


def weights(model: ir.Model, name: str, index: int = 1) -> NDArray[np.float32]:
    """The weights, or with index 2 the bias, of a node."""
    array = queries.constant(node(model, name).inputs[index])
    assert array is not None
    return array


def int8_db(model: ir.Model, drawn: Sequence[Sample], corrected: ir.Model | None = None) -> float:
    """SQNR at the outputs of the INT8 model against FP32, calibrated on the same samples."""
    return distance_db(model, apply(corrected or model, planned(model, drawn)), drawn)


def distance_db(model: ir.Model, other: ir.Model, drawn: Sequence[Sample]) -> float:
    noise = NoiseSum()
    for sample in drawn:
        inputs: Mapping[str, NDArray[np.float32]] = sample.inputs
        truth, got = on_onnxruntime(model, dict(inputs)), on_onnxruntime(other, dict(inputs))
        for key, expected in truth.items():
            noise.add(expected, got[key])
    return noise.sqnr_db
