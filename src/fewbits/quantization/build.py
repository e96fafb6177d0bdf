"""From FP32 model and statistics to INT8 model: the steps that the main job and the calibration tool share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import onnx_ir as ir

from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import Capability, Engine, Options
from fewbits.quantization.apply import apply
from fewbits.quantization.choose_method import MethodChoice, choose_method
from fewbits.quantization.placement import place
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import Recipe

# Enough to tell methods apart by output SQNR, few enough to cost seconds.
METHOD_SAMPLES = 24


def values_to_watch(model: ir.Model, recipe: Recipe, capabilities: Iterable[Capability]) -> list[str]:
    """Names of all activations whose range any of these engines will ask for."""
    wanted: dict[str, None] = {}
    for capability in capabilities:
        placement = place(model, recipe, capability)
        for value in placement.values:
            for member in placement.group(value):
                wanted[member.name or ""] = None
    return list(wanted)


def quantized(
    model: ir.Model, statistics: Statistics, recipe: Recipe, capability: Capability
) -> tuple[ir.Model, QuantPlan]:
    """The INT8 model for one engine, and the plan it was built by.

    Raises:
        ValueError: ``recipe.method`` is ``auto``; resolve it first.
    """
    ranges = statistics.ranges(recipe.method, symmetric=capability.signed_symmetric)
    made = plan(model, ranges, recipe, capability)
    return apply(model, made), made


def resolve_method(
    model: ir.Model,
    statistics: Statistics,
    recipe: Recipe,
    engine: Engine,
    samples: Sequence[Sample],
    options: Options,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Recipe, MethodChoice]:
    """Replace ``auto`` by the method with the least output error on these calibration samples."""

    def build(method: str) -> ir.Model:
        return quantized(model, statistics, replace(recipe, method=method), engine.capability)[0]

    choice = choose_method(model, build, samples, engine, options, progress)
    return replace(recipe, method=choice.method), choice
