"""Bias correction: what quantization shifts a layer's mean output by is taken back in its bias.

Rounded weights and clipped inputs shift the expected output of a layer (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", section 4.2):

    E[y~] = E[y] + E[W~ x~ - W x]        b' = b + E[W x - W~ x~]

Here both means are measured, per output channel, on calibration samples. Every layer's integer twin reads the FP32
model's own activations, x~ = Q(x), so all layers are corrected from one pass; measuring them inside the quantized
model instead would count the shift of earlier layers again in each later one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.running import run_all
from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.graph import qdq, queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.graph.taps import OUTPUT, tapped
from fewbits.numerics import fake_quantize
from fewbits.quantization.plan import QuantPlan

NAME = "bias"
Shifts = Mapping[str, NDArray[np.float32]]


def bias_shifts(
    model: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, NDArray[np.float32]]:
    """E[W x - W~ x~] of every INT8 node that can hold a bias, f32[O] by the node's name.

    Raises:
        EngineError: the engine cannot run the model with its twins.
    """
    both, twins = _with_twins(model, plan)
    if not twins:
        return {}
    names = [name for pair in twins.values() for name in pair]
    probe, layout = tapped(both, names, 0, ("ReduceMean",))
    session = engine.compile(probe, Options(options.device, "throughput", options.precision, options.threads))
    sums = np.zeros((session.slots, layout.size))

    def add(slot: int, _: int, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        sums[slot] += outputs[OUTPUT]

    try:
        run_all(session, samples, add, progress)
    finally:
        session.close()
    means = sums.sum(axis=0) / len(samples)
    cuts = layout.positions("ReduceMean")
    return {name: (means[cuts[2 * i]] - means[cuts[2 * i + 1]]).astype(np.float32) for i, name in enumerate(twins)}


def _with_twins(model: ir.Model, plan: QuantPlan) -> tuple[ir.Model, dict[str, tuple[str, str]]]:
    """Beside every INT8 node one with rounded weights that reads the quantized input: (FP32, twin) outputs."""
    model = model.clone()
    rounded: dict[ir.Value, ir.Value] = {}
    twins = {}
    for node in list(model.graph):
        name, source = node_name(node), node.inputs[0]
        weights = queries.constant(node.inputs[WEIGHT_INPUT]) if name in plan.weights else None
        if weights is None or source is None or not _holds_bias(node):
            continue
        params = plan.values.get(source.name or "")
        if params is not None and source not in rounded:
            rounded[source] = qdq.append(model, source, params)
        integer = fake_quantize(weights, plan.weights[name])
        inputs = [rounded.get(source, source), add_initializer(model, f"{name}.rounded", integer), *node.inputs[2:]]
        twin = ir.node(node.op_type, inputs, dict(node.attributes), name=f"{name}.twin")
        result = twin.outputs[0]
        result.name, result.shape, result.type = f"{name}.twin", node.outputs[0].shape, node.outputs[0].type
        model.graph.append(twin)
        twins[name] = (node.outputs[0].name or "", result.name)
    return model, twins


def _holds_bias(node: ir.Node) -> bool:
    """Convolutions and Gemm take a bias per output channel; MatMul has none."""
    return node.op_type in ("Conv", "ConvTranspose", "Gemm")


def shift_biases(model: ir.Model, shifts: Shifts) -> ir.Model:
    """A copy of the FP32 model with the shifts added to its biases; the given model stays as it is."""
    model = model.clone()
    for node in model.graph:
        shift = shifts.get(node_name(node))
        if shift is None:
            continue
        bias = queries.constant(node.inputs[BIAS_INPUT]) if len(node.inputs) > BIAS_INPUT else None
        value = add_initializer(model, f"{node_name(node)}.corrected_bias", shift if bias is None else bias + shift)
        replace_input(model, node, BIAS_INPUT, value)
    return model
