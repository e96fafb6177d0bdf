"""Sizes of inner values that shape inference does not know, or gets wrong: learned by running a few samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.graph import queries

VARIES = "has another size from sample to sample, so that no statistics of it are collected"
EMPTY = "holds no numbers"


@dataclass(frozen=True)
class Sizes:
    """What runs have shown.

    Args:
        known: value → its shape for one sample.
        unusable: value → why it has no statistics.
    """

    known: dict[str, tuple[int, ...]]
    unusable: dict[str, str]


def unsized(model: ir.Model, names: Sequence[str]) -> list[str]:
    """Of these values the ones with a rank or a size, besides the first, that is not known."""
    wanted = set(names)
    made = (value for node in model.graph for value in node.outputs)
    shapes = {v.name: queries.dims(v) for v in (*model.graph.inputs, *made) if v.name in wanted}
    return [name for name in names if (shape := shapes[name]) is None or None in shape[1:]]


def learn_sizes(
    model: ir.Model, names: Sequence[str], samples: Sequence[Sample], engine: Engine, options: Options
) -> Sizes:
    """Run the samples and note the shape of each named value.

    Raises:
        EngineError: the engine cannot run the model with these values as outputs.
    """
    probe = model.clone()
    inputs = {value.name for value in probe.graph.inputs}
    values = {value.name: value for node in probe.graph for value in node.outputs}
    outputs = [values[name] for name in names if name not in inputs]
    probe.graph.outputs[:] = outputs or list(probe.graph.outputs)
    session = engine.compile(probe, replace(options, mode="latency", precision="f32"))
    seen: dict[str, set[tuple[int, ...]]] = {name: set() for name in names}
    try:
        for sample in samples:
            arrays = {**sample.inputs, **session.run(sample.inputs)}
            for name in names:
                seen[name].add(arrays[name].shape)
    finally:
        session.close()
    known, unusable = {}, {}
    for name, shapes in seen.items():
        if len(shapes) != 1:
            unusable[name] = VARIES
        elif 0 in (shape := shapes.pop()):
            unusable[name] = EMPTY
        else:
            known[name] = shape
    return Sizes(known, unusable)
