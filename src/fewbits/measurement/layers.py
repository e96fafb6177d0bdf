"""Two versions of one model run side by side: how far every activation they share is apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.data import Sample
from fewbits.engines import Session
from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.measurement.comparison import LayerComparison
from fewbits.numerics import NoiseSum

_NOTHING = (np.inf, -np.inf)


@dataclass(frozen=True)
class SharedValue:
    """An activation both models have: its name in the reference, and what its readers see in the other model."""

    name: str
    other: str


def shared_values(base: ir.Model, version: ir.Model) -> tuple[SharedValue, ...]:
    """The activations that match by name; a quantized one is taken as its readers see it, after DequantizeLinear."""
    theirs = {v.name: v for node in version.graph for v in node.outputs}
    found = []
    for name in float_values(base):
        value = theirs.get(name)
        if value is not None and _floats(value):
            found.append(SharedValue(name, _as_read(value).name or ""))
    return tuple(found)


def float_values(model: ir.Model) -> list[str]:
    """The names of all FP32 activations that nodes compute, in order of execution."""
    return [v.name or "" for node in model.graph for v in node.outputs if _floats(v)]


def _floats(value: ir.Value) -> bool:
    """Whether it is an FP32 tensor, and no sequence of them."""
    return isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT


def with_outputs(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A copy of the model that also gives out these activations."""
    model = model.clone()
    values = {v.name: v for node in model.graph for v in node.outputs}
    have = {v.name for v in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in dict.fromkeys(names) if name not in have)
    return model


def compare_values(
    base: ir.Model,
    shared: Iterable[SharedValue],
    sessions: tuple[Session, Session],
    samples: Iterable[Sample],
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[tuple[LayerComparison, ...], int]:
    """Run both sessions on the samples: (one record an activation in the order of ``shared``, samples seen).

    Args:
        base: the reference, whose nodes the records name.
        sessions: of the reference and of the other model, both giving out the shared values.

    Raises:
        EngineError: one of the models does not run.
    """
    shared = tuple(shared)
    noise = {value.name: NoiseSum() for value in shared}
    ranges = {value.name: (_NOTHING, _NOTHING) for value in shared}
    count = 0
    for sample in samples:
        expected, got = (session.run(sample.inputs) for session in sessions)
        for value in shared:
            a, b = expected[value.name], got[value.other]
            # Sizes that depend on the data may come out otherwise; then nothing of the value is right.
            noise[value.name].add(a, b if a.shape == b.shape else np.zeros_like(a))
            mine, theirs = ranges[value.name]
            ranges[value.name] = (_widened(mine, a), _widened(theirs, b))
        count += 1
        progress(count)
    producers = {v.name: node for node in base.graph for v in node.outputs}

    def row(name: str) -> LayerComparison:
        node, n = producers[name], noise[name]
        return LayerComparison(node_name(node), node.op_type, name, n.sqnr_db, n.max_abs, *ranges[name])

    return tuple(row(value.name) for value in shared), count


def _as_read(value: ir.Value) -> ir.Value:
    for node in queries.users(value):
        if node.op_type == "QuantizeLinear":
            for reader in queries.users(node.outputs[0]):
                if reader.op_type == "DequantizeLinear":
                    return reader.outputs[0]
    return value


def _widened(known: tuple[float, float], array: NDArray[Any]) -> tuple[float, float]:
    if not array.size:
        return known
    return min(known[0], float(np.min(array))), max(known[1], float(np.max(array)))
