"""``compare``: two versions of a model layer by layer - where does the difference come from?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from fewbits.data import stream, take
from fewbits.engines import Options
from fewbits.errors import InputError
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.measurement.comparison import Comparison, LayerComparison
from fewbits.numerics import NoiseSum
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, about, check_model, open_model, open_test_data
from fewbits.verbs.place import place

_DEFAULT_SAMPLES = 16


def compare(
    reference: str | Path | Source,
    other: str | Path | Source,
    data: DataOptions,
    *,
    device: str = "CPU",
    progress: Progress | None = None,
) -> Comparison:
    """Run both models on the same samples and compare every activation they have in common.

    Activations match by name; both models are simplified first, so that an FP32 model matches the INT8 model
    made from it. A quantized activation is compared as its readers see it, after DequantizeLinear.

    Raises:
        InputError: a model, the data or the device is wrong, or the models have nothing in common.
    """
    progress = progress or Progress()
    where = place("all", device)
    one, two = Source.of(reference), Source.of(other)
    base, version = (open_model(source, progress) for source in (one, two))
    check_model(base, one.path)
    check_model(version, two.path)
    base, version = simplify(base), simplify(version)
    inputs = queries.specs(base.graph.inputs)
    if [(s.name, s.single) for s in queries.specs(version.graph.inputs)] != [(s.name, s.single) for s in inputs]:
        raise InputError(
            "its inputs differ from the reference's", where=str(two.path), fix="compare versions of one model"
        )
    dataset = take(open_test_data(data, inputs, progress), data.samples or _DEFAULT_SAMPLES, data.seed)
    pairs = _pairs(base, version)
    if not pairs:
        raise InputError("the models have no activation in common", where=str(two.path))
    # Where several engines have the device, ONNX Runtime is first choice: it gives every value as the file names it.
    engine, options = sorted(where.engines, key=lambda e: e.name != "onnxruntime")[0], Options(where.device)
    with about(one.path):
        expecting = engine.compile(_with_outputs(base, [mine for mine, _ in pairs]), options)
    with about(two.path):
        getting = engine.compile(_with_outputs(version, [theirs for _, theirs in pairs]), options)
    noise = {mine: NoiseSum() for mine, _ in pairs}
    ranges = {name: [(np.inf, -np.inf), (np.inf, -np.inf)] for name in noise}
    count = 0
    for sample in stream(dataset, workers=2):
        expected, got = expecting.run(sample.inputs), getting.run(sample.inputs)
        for mine, theirs in pairs:
            a, b = expected[mine], got[theirs]
            noise[mine].add(a, b)
            ranges[mine] = [_widened(r, array) for r, array in zip(ranges[mine], (a, b), strict=True)]
        count += 1
        progress.step("comparing", count, len(dataset))
    producers = {v.name: node for node in base.graph for v in node.outputs}

    def row(name: str) -> LayerComparison:
        node = producers[name]
        n = noise[name]
        return LayerComparison(node_name(node), node.op_type, name, n.sqnr_db, n.max_abs, *ranges[name])

    final = {v.name for v in base.graph.outputs}
    names = [mine for mine, _ in pairs]
    return Comparison(
        one.path,
        two.path,
        count,
        tuple(row(name) for name in names if name not in final),
        tuple(row(name) for name in names if name in final),
        sum(1 for name in _floats(base) if name not in noise),
    )


def _floats(model: ir.Model) -> list[str]:
    return [v.name or "" for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT]


def _pairs(base: ir.Model, version: ir.Model) -> list[tuple[str, str]]:
    """(name in the reference, name in the other model as its readers see the value)."""
    theirs = {v.name: v for node in version.graph for v in node.outputs}
    found = []
    for name in _floats(base):
        value = theirs.get(name)
        if value is not None and value.dtype == ir.DataType.FLOAT:
            found.append((name, _as_read(value).name or ""))
    return found


def _as_read(value: ir.Value) -> ir.Value:
    for node in queries.users(value):
        if node.op_type == "QuantizeLinear":
            for reader in queries.users(node.outputs[0]):
                if reader.op_type == "DequantizeLinear":
                    return reader.outputs[0]
    return value


def _with_outputs(model: ir.Model, names: list[str]) -> ir.Model:
    model = model.clone()
    values = {v.name: v for node in model.graph for v in node.outputs}
    have = {v.name for v in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in names if name not in have)
    return model


def _widened(
    known: tuple[float, float], array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> tuple[float, float]:
    return min(known[0], float(np.min(array))), max(known[1], float(np.max(array)))
