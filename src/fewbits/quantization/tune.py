"""Which range method, and is a correction worth it? Decided by the error at the outputs, on calibration samples.

No single default is safe: min/max suffers from one outlier, clipping methods from distributions whose tail
decides the class, and a correction can hurt. So each variant is built and run, and the least output error wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from fewbits.calibration.running import run_all
from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options
from fewbits.numerics import METHODS, NoiseSum
from fewbits.quantization.apply import apply
from fewbits.quantization.bias_correction import NAME as BIAS
from fewbits.quantization.bias_correction import Shifts, bias_shifts, shift_biases
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import AUTO, Recipe

# Enough to tell variants apart by output SQNR, few enough to cost seconds.
TRIAL_SAMPLES = 24
# A channel's mean is over all positions of these, tens of thousands of numbers in early layers, hundreds in late ones.
CORRECTION_SAMPLES = 64


@dataclass(frozen=True)
class Tuned:
    """A recipe with nothing left to decide, the bias shifts that belong to it, and what each variant reached.

    ``sqnr_db`` names variants as ``minmax`` or ``mse+bias``; empty where there was nothing to decide.
    """

    recipe: Recipe
    shifts: Shifts
    sqnr_db: Mapping[str, float]


def build(model: ir.Model, statistics: Statistics, tuned: Tuned, engine: Engine) -> tuple[ir.Model, QuantPlan]:
    """The INT8 model for one engine, and the plan it was built by."""
    ranges = statistics.ranges(tuned.recipe.method, symmetric=engine.capability.signed_symmetric)
    corrected = shift_biases(model, tuned.shifts) if tuned.shifts else model
    made = plan(corrected, ranges, tuned.recipe, engine.capability)
    return apply(corrected, made), made


def tune(
    model: ir.Model,
    statistics: Statistics,
    recipe: Recipe,
    engine: Engine,
    samples: Sequence[Sample],
    options: Options,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Settle what the recipe leaves open: method ``auto``, corrections ``auto``.

    Args:
        samples: calibration samples, never test samples; the first few are for comparing variants.

    Raises:
        EngineError: the engine cannot run the model.
    """
    trial = samples[:TRIAL_SAMPLES]
    truth: list[Arrays] = []
    reached: dict[str, float] = {}

    def sqnr(tuned: Tuned) -> float:
        if not truth:
            truth.extend(_outputs(model, trial, engine, options))
        return _worst_output(truth, _outputs(build(model, statistics, tuned, engine)[0], trial, engine, options))

    best = Tuned(replace(recipe, corrections=()), {}, {})
    if recipe.method == AUTO:
        for method in METHODS:
            progress(method)
            reached[method] = sqnr(replace(best, recipe=replace(best.recipe, method=method)))
        best = replace(best, recipe=replace(best.recipe, method=max(reached, key=lambda name: reached[name])))
    if BIAS in recipe.corrections or recipe.corrections == (AUTO,):
        progress("bias correction")
        made = build(model, statistics, best, engine)[1]
        shifts = bias_shifts(model, made, samples[:CORRECTION_SAMPLES], engine, options)
        corrected = Tuned(replace(best.recipe, corrections=(BIAS,)), shifts, {})
        plain = best.recipe.method
        if recipe.corrections == (AUTO,):
            reached[f"{plain}+{BIAS}"] = sqnr(corrected)
            if plain not in reached:
                reached[plain] = sqnr(best)
        if BIAS in recipe.corrections or reached[f"{plain}+{BIAS}"] > reached[plain]:
            best = corrected
    return replace(best, sqnr_db=reached)


def _outputs(model: ir.Model, samples: Sequence[Sample], engine: Engine, options: Options) -> list[Arrays]:
    session = engine.compile(model, Options(options.device, "throughput", options.precision, options.threads))
    found: list[Arrays] = [{} for _ in samples]

    def keep(_: int, index: int, outputs: Arrays) -> None:
        found[index] = {name: array.copy() for name, array in outputs.items()}

    try:
        run_all(session, samples, keep)
    finally:
        session.close()
    return found


def _worst_output(truth: Sequence[Arrays], got: Sequence[Arrays]) -> float:
    """The lowest SQNR of all outputs: boxes in pixels would drown scores between 0 and 1 in a common sum."""
    noise: dict[str, NoiseSum] = {}
    for expected, other in zip(truth, got, strict=True):
        for name, array in expected.items():
            noise.setdefault(name, NoiseSum()).add(array, other[name])
    return min((part.sqnr_db for part in noise.values()), default=np.inf)
