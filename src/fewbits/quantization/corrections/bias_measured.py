"""Bias correction, measured: what quantization shifts a layer's mean output by is taken back in its bias.

Rounded weights and clipped inputs shift the expected output of a layer (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", section 4.2):

    E[y~] = E[y] + E[W~ x~ - W x]        b' = b + E[W x - W~ x~]

Here both means are measured, per output channel, on calibration samples. Every layer's integer twin reads the FP32
model's own activations, x~ = Q(x), so all layers are corrected from one pass; measuring them inside the quantized
model instead would count the shift of earlier layers again in each later one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.running import run_all
from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.graph import qdq
from fewbits.graph.edits import add_initializer
from fewbits.graph.names import unique_names
from fewbits.graph.queries import node_name
from fewbits.graph.taps import MEAN, OUTPUT, tapped
from fewbits.numerics import fake_quantize
from fewbits.quantization.corrections.bias import Shifts, holds_bias
from fewbits.quantization.linear import weights_of
from fewbits.quantization.plan import QuantPlan


def measured_shifts(
    model: ir.Model,
    corrected: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    progress: Callable[[int], None] = lambda _: None,
) -> Shifts:
    """E[W x - W~ x~] of every INT8 node that can hold a bias, f32[O] by the node's name.

    Args:
        model: holds W.
        corrected: the same graph; its weights, quantized by the plan, are W~.

    Raises:
        EngineError: the engine cannot run the model with its twins.
    """
    both, twins = _with_twins(model, corrected, plan)
    if not twins:
        return {}
    names = [name for pair in twins.values() for name in pair]
    probe, layout = tapped(both, names, 0, (MEAN,))
    session = engine.compile(probe, replace(options, mode="throughput"))
    sums = np.zeros((session.slots, layout.size))

    def add(slot: int, _: int, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        sums[slot] += outputs[OUTPUT]

    try:
        run_all(session, samples, add, progress)
    finally:
        session.close()
    means = sums.sum(axis=0) / len(samples)
    cuts = layout.positions(MEAN)
    return {name: (means[cuts[2 * i]] - means[cuts[2 * i + 1]]).astype(np.float32) for i, name in enumerate(twins)}


def _with_twins(model: ir.Model, corrected: ir.Model, plan: QuantPlan) -> tuple[ir.Model, dict[str, tuple[str, str]]]:
    """Beside every INT8 node one with rounded weights that reads the quantized input: (FP32, twin) outputs."""
    model = model.clone()
    with unique_names(model):
        twins = _add_twins(model, corrected, plan)
    return model, {name: (one.name or "", twin.name or "") for name, (one, twin) in twins.items()}


def _add_twins(model: ir.Model, corrected: ir.Model, plan: QuantPlan) -> dict[str, tuple[ir.Value, ir.Value]]:
    changed = {node_name(node): node for node in corrected.graph}
    rounded: dict[ir.Value, ir.Value] = {}
    twins: dict[str, tuple[ir.Value, ir.Value]] = {}
    for node in list(model.graph):
        name, source = node_name(node), node.inputs[0]
        if name not in plan.weights or source is None or not holds_bias(node):
            continue
        params = plan.values.get(source.name or "")
        if params is not None and source not in rounded:
            rounded[source] = qdq.append(model, source, params)
        integer = fake_quantize(weights_of(changed[name]), plan.weights[name])
        inputs = [rounded.get(source, source), add_initializer(model, f"{name}.rounded", integer), *node.inputs[2:]]
        twin = ir.node(node.op_type, inputs, dict(node.attributes), name=f"{name}.twin")
        result = twin.outputs[0]
        result.name, result.shape, result.type = f"{name}.twin", node.outputs[0].shape, node.outputs[0].type
        model.graph.append(twin)
        twins[name] = (node.outputs[0], result)
    return twins
