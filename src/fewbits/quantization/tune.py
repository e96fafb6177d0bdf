"""Which range method, which corrections? Decided by the error at the outputs, on calibration samples.

No single default is safe: min/max suffers from one outlier, clipping methods from distributions whose tail decides the
class, and a correction can hurt. So the favourite is built and run, and every other variant beside it on the same
samples; only one that is better beyond doubt takes its place.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from fewbits.calibration.statistics import Statistics
from fewbits.engines import Engine
from fewbits.numerics import METHODS
from fewbits.quantization.corrections import BIAS, BIAS_MEASURED, CORRECTION_SAMPLES, EQUALIZE, ROUNDING
from fewbits.quantization.corrections.equalize import promising
from fewbits.quantization.recipe import AUTO, Recipe
from fewbits.quantization.trial import Trial
from fewbits.quantization.truth import TRIAL_SAMPLES
from fewbits.quantization.workshop import Bench, Tuned, Workshop, build, magnitudes

__all__ = ["Bench", "Tuned", "build", "samples_needed", "tune"]


def samples_needed(recipe: Recipe) -> int:
    """How many calibration samples tuning by this recipe looks at, 0 for none."""
    if {ROUNDING, BIAS_MEASURED} & set(recipe.corrections):
        return CORRECTION_SAMPLES
    return TRIAL_SAMPLES if recipe.undecided else 0


def tune(model: ir.Model, statistics: Statistics, recipe: Recipe, engine: Engine, bench: Bench) -> Tuned:
    """Settle what the recipe leaves open, and make the corrections.

    Args:
        engine: whose placement is built; it need not be the one that variants are tried on.

    Raises:
        EngineError: the bench's engine cannot run the model.
    """
    workshop = Workshop(engine, bench)
    with Trial(model, bench) as trial:
        best = _method_and_bias(model, statistics, recipe, workshop, trial)
        if recipe.wants(EQUALIZE) is None and trial.can_tell and promising(model, magnitudes(statistics)):
            best = trial.best(best, [workshop.equalized(best)])
        if recipe.wants(ROUNDING):
            trial.begin(best)
            best = trial.begin(workshop.rounded(best))
        return replace(best, sqnr_db=trial.reached)


def _method_and_bias(
    model: ir.Model, statistics: Statistics, recipe: Recipe, workshop: Workshop, trial: Trial
) -> Tuned:
    first, *others = METHODS if recipe.method == AUTO else (recipe.method,)
    named = tuple(name for name in recipe.corrections if name in (BIAS, BIAS_MEASURED))
    biased = named or ((BIAS,) if recipe.wants(BIAS) is None else ())
    best = workshop.carry_out(model, statistics, replace(recipe, method=first, corrections=biased))
    if recipe.wants(EQUALIZE):
        best = workshop.equalized(best)
    if not trial.can_tell:
        return best
    challengers = []
    if recipe.wants(BIAS) is None:
        challengers.append(trial.begin(workshop.unbiased(trial.begin(best))))
    challengers += [trial.begin(workshop.ranged_by(best, method)) for method in others]
    return trial.best(best, challengers)
