"""Where a settled recipe is carried out: statistics and corrections in, a model ready for its quantizers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.numerics import QParams
from fewbits.progress import Progress
from fewbits.quantization.apply import apply
from fewbits.quantization.corrections import BIAS, BIAS_MEASURED, CORRECTION_SAMPLES, EQUALIZE, ROUNDING
from fewbits.quantization.corrections.bias import mean_shifts, shift_biases
from fewbits.quantization.corrections.bias_measured import measured_shifts
from fewbits.quantization.corrections.equalize import equalize
from fewbits.quantization.corrections.rounding import learn_rounding
from fewbits.quantization.linear import weights_of
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.truth import Truth


@dataclass(frozen=True)
class Tuned:
    """A recipe with nothing left to decide, carried out but for the quantizers.

    Args:
        recipe: method and corrections are named.
        source: the FP32 model the plan is made of: the given one, or an equalized one.
        statistics: of ``source``.
        plan: for the engine it was tuned for.
        corrected: what the plan is applied to: ``source`` with weights rounded and biases shifted.
        sqnr_db: what each variant reached at the outputs, mean over samples; variants are named as ``mse`` or
            ``mse+bias``. Empty where nothing was tried.
    """

    recipe: Recipe
    source: ir.Model
    statistics: Statistics
    plan: QuantPlan
    corrected: ir.Model
    sqnr_db: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """What tuning works with: calibration samples (never test samples) and an engine that loads models quickly.

    Args:
        recollect: statistics over the calibration set of another model with the same values, for equalization.
        truth: FP32's outputs on the samples, where they were begun already.
    """

    engine: Engine
    options: Options
    samples: Sequence[Sample]
    recollect: Callable[[ir.Model], Statistics]
    progress: Progress = field(default_factory=Progress)
    truth: Truth | None = None


def build(tuned: Tuned) -> ir.Model:
    """The INT8 model."""
    return apply(tuned.corrected, tuned.plan)


class Workshop:
    """Makes the corrections a recipe names, for the placement of one engine."""

    def __init__(self, engine: Engine, bench: Bench) -> None:
        self._engine, self._bench = engine, bench

    def carry_out(
        self, source: ir.Model, statistics: Statistics, recipe: Recipe, rounded: ir.Model | None = None
    ) -> Tuned:
        """Shift the biases of ``source``, or of a copy of it with rounded weights, as the recipe asks."""
        made = self._plan(source, statistics, recipe)
        found = Tuned(recipe, source, statistics, made, rounded or source)
        if BIAS in recipe.corrections:
            shifts = mean_shifts(source, found.corrected, made, statistics)
        elif BIAS_MEASURED in recipe.corrections:
            bench, samples = self._bench, self._bench.samples[:CORRECTION_SAMPLES]
            shifts = measured_shifts(
                source,
                found.corrected,
                made,
                samples,
                bench.engine,
                bench.options,
                lambda done: bench.progress.step("measuring biases", done, len(samples)),
            )
        else:
            return found
        return replace(found, corrected=shift_biases(found.corrected, shifts))

    def ranged_by(self, tuned: Tuned, method: str) -> Tuned:
        """The same, weights not rounded yet, with ranges by another method.

        Scales of weights, and what they ask of the biases, do not depend on it unless that was measured.
        """
        recipe = replace(tuned.recipe, method=method)
        if BIAS_MEASURED in recipe.corrections:
            return self.carry_out(tuned.source, tuned.statistics, recipe)
        made = self._plan(tuned.source, tuned.statistics, recipe, tuned.plan.weights)
        return replace(tuned, recipe=recipe, plan=made)

    @staticmethod
    def unbiased(tuned: Tuned) -> Tuned:
        """The same without bias correction; its weights are not rounded yet."""
        named = tuple(name for name in tuned.recipe.corrections if name not in (BIAS, BIAS_MEASURED))
        return replace(tuned, recipe=replace(tuned.recipe, corrections=named), corrected=tuned.source)

    def keeping_float(self, tuned: Tuned, names: Sequence[str]) -> Tuned:
        """The same with these layers in float; weights that were rounded for INT8 stay so in the other layers alone."""
        recipe, weights = tuned.recipe.sending(names, "float"), None
        if ROUNDING in recipe.corrections:
            weights = _with_weights(tuned.source, tuned.corrected, frozenset(tuned.plan.weights) - frozenset(names))
        return self.carry_out(tuned.source, tuned.statistics, recipe, weights)

    def equalized(self, tuned: Tuned) -> Tuned:
        """The same with equalized channels, which need statistics of their own."""
        source = equalize(tuned.source, magnitudes(tuned.statistics))
        recipe = replace(tuned.recipe, corrections=(EQUALIZE, *tuned.recipe.corrections))
        return self.carry_out(source, self._bench.recollect(source), recipe)

    def rounded(self, tuned: Tuned) -> Tuned:
        """The same with learned rounding."""
        bench, corrections = self._bench, tuned.recipe.corrections
        weights = learn_rounding(
            tuned.source,
            tuned.plan,
            bench.samples[:CORRECTION_SAMPLES],
            bench.engine,
            bench.options,
            centred=bool({BIAS, BIAS_MEASURED} & set(corrections)),
            progress=lambda done, total: bench.progress.step("learning to round", done, total),
        )
        before = tuple(name for name in corrections if name == EQUALIZE)
        recipe = replace(tuned.recipe, corrections=(*before, ROUNDING, *corrections[len(before) :]))
        return self.carry_out(tuned.source, tuned.statistics, recipe, weights)

    def _plan(
        self,
        source: ir.Model,
        statistics: Statistics,
        recipe: Recipe,
        known: Mapping[str, QParams] | None = None,
    ) -> QuantPlan:
        capability, unusable = self._engine.capability, dict(statistics.unusable)
        names = values_to_watch(source, recipe, [capability], unusable)
        while missing := [name for name in names if name not in statistics.values]:
            unusable |= dict.fromkeys(missing, "has no statistics")
            names = values_to_watch(source, recipe, [capability], unusable)
        ranges = statistics.ranges(recipe.method, symmetric=capability.signed_symmetric, names=names)
        return plan(source, ranges, recipe, capability, known, unusable)


def _with_weights(model: ir.Model, donor: ir.Model, names: frozenset[str]) -> ir.Model:
    """A copy of the model with the donor's weights in the nodes of these names."""
    model = model.clone()
    given = {node_name(node): node for node in donor.graph}
    for node in [node for node in model.graph if node_name(node) in names]:
        weights = add_initializer(model, f"{node_name(node)}.learned", weights_of(given[node_name(node)]))
        replace_input(model, node, WEIGHT_INPUT, weights)
    return model


def magnitudes(statistics: Statistics) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of each channel of every value."""
    return {name: np.maximum(np.abs(v.minimum), np.abs(v.maximum)) for name, v in statistics.values.items()}
