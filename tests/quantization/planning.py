"""Plans by min/max on the samples that the tests measure with, so that nothing is clipped."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.calibration.collect import collect
from fewbits.calibration.statistics import Statistics
from fewbits.engines import ENGINES, Capability, Engine, Options
from fewbits.numerics import NoiseSum
from fewbits.quantization.apply import apply
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import Recipe
from models import oracle, samples

MINMAX = Recipe(method="minmax")
OPENVINO, ONNXRUNTIME = ENGINES["openvino"], ENGINES["onnxruntime"]
SAMPLES = 8


def statistics(model: ir.Model, capability: Capability, recipe: Recipe = MINMAX) -> Statistics:
    names = values_to_watch(model, recipe, [capability])
    return collect(model, names, samples(model, SAMPLES), SAMPLES, ONNXRUNTIME, Options(threads=1))


def planned(
    model: ir.Model, capability: Capability, recipe: Recipe = MINMAX, **ranges: tuple[float, float]
) -> QuantPlan:
    """The plan, with the ranges of some values as given."""
    found = statistics(model, capability, recipe).ranges("minmax", symmetric=capability.signed_symmetric)
    return plan(model, {**found, **ranges}, recipe, capability)


def quantized(model: ir.Model, engine: Engine, recipe: Recipe = MINMAX) -> ir.Model:
    return apply(model, planned(model, engine.capability, recipe))


def output_db(source: ir.Model, model: ir.Model, engine: Engine, output: str | None = None) -> float:
    """How far the model is from the FP32 source, over all outputs or over one."""
    noise = NoiseSum()
    session = engine.compile(model, Options(threads=1))
    for sample in samples(source, SAMPLES):
        truth, got = oracle(source, dict(sample.inputs)), session.run(sample.inputs)
        for name in truth if output is None else [output]:
            noise.add(truth[name], got[name])
    return noise.sqnr_db
