"""Taps: a model that also reports what it computes inside, reduced in the graph so that little leaves the engine.

Of a value x [1, C, H, W] calibration wants the extremes and the mean of each channel, f32[C], and a sample of
its numbers for a histogram. All reductions of all values are joined into one output: a network with sixty taps
then hands over one array per run, not two hundred and forty, and an engine that walks the graph from its outputs
reduces each value while it is still in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer

OUTPUT = "fewbits_taps"
REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean")
_LEAST_POSITIONS = 3


@dataclass(frozen=True)
class TapLayout:
    """Where each tapped value lies in the joined output, one after the other.

    Value i takes ``len(reductions) * channels[i] + sampled[i]`` numbers: each reduction of all channels, the sample.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    sampled: tuple[int, ...]
    reductions: tuple[str, ...] = REDUCTIONS

    @property
    def size(self) -> int:
        """How many numbers one run hands over."""
        return len(self.reductions) * sum(self.channels) + sum(self.sampled)

    def positions(self, reduction: str) -> list[slice]:
        """Where each value's channels of this reduction stand."""
        offset = self.reductions.index(reduction)
        return [slice(a + offset * c, a + (offset + 1) * c) for a, c in zip(self._starts(), self.channels, strict=True)]

    def samples(self) -> list[slice]:
        """Where each value's sample stands."""
        first = [a + len(self.reductions) * c for a, c in zip(self._starts(), self.channels, strict=True)]
        return [slice(a, a + n) for a, n in zip(first, self.sampled, strict=True)]

    def _starts(self) -> list[int]:
        widths = [len(self.reductions) * c + n for c, n in zip(self.channels, self.sampled, strict=True)]
        return list(itertools.accumulate(widths, initial=0))[:-1]


def channel_axis(rank: int) -> int | None:
    """The axis that holds channels: [N, C, H, W] → 1, [N, T, C] → 2 (sequences), [N] → none."""
    return {0: None, 1: None, 2: 1, 3: 2}.get(rank, 1)


def tapped(
    model: ir.Model, names: Sequence[str], samples: int, reductions: tuple[str, ...] = REDUCTIONS
) -> tuple[ir.Model, TapLayout]:
    """A copy of the model, for batch 1, whose only output is the joined reductions of the named values.

    Args:
        samples: about how many numbers of each value to hand over for its histogram (a regular grid over the
            spatial axes with odd steps, so that strided patterns are not missed; all channels). 0 for none.

    Raises:
        ValueError: a named value has no shape that is known for batch 1.
    """
    model = model.clone()
    graph = model.graph
    values = {v.name: v for node in graph for v in node.outputs} | {v.name: v for v in graph.inputs}
    graph.outputs.clear()
    parts: list[ir.Value] = []
    channels, sampled = [], []
    flat = add_initializer(model, "fewbits_flat", np.array([-1], np.int64))
    for name in names:
        value = values[name]
        shape = _single(value)
        axis = channel_axis(len(shape))
        over = tuple(i for i in range(len(shape)) if i != axis)
        for op in reductions:
            reduced = _named(_reduce(model, op, value, over).outputs[0], f"{name}.{op}")
            parts.append(_reshape(graph, reduced, flat))
        channels.append(1 if axis is None else shape[axis])
        count = 0
        if samples:
            picked, count = _pick(model, value, shape, axis, samples)
            parts.append(_reshape(graph, picked, flat))
        sampled.append(count)
    layout = TapLayout(tuple(names), tuple(channels), tuple(sampled), reductions)
    node = ir.node("Concat", parts, {"axis": 0})
    graph.append(node)
    joined = _named(node.outputs[0], OUTPUT)
    joined.type, joined.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([layout.size])
    graph.outputs.append(joined)
    _drop_unused(model)
    return model, layout


def _reduce(model: ir.Model, op: str, value: ir.Value, axes: tuple[int, ...]) -> ir.Node:
    """A reduction; its axes are an attribute up to opset 17 and an input from 18."""
    if (model.opset_imports.get("") or 0) >= 18:
        over = add_initializer(model, f"{value.name}.axes", np.array(axes, np.int64))
        node = ir.node(op, [value, over], {"keepdims": 0})
    else:
        node = ir.node(op, [value], {"axes": list(axes), "keepdims": 0})
    model.graph.append(node)
    return node


def _single(value: ir.Value) -> tuple[int, ...]:
    shape = queries.dims(value)
    if shape is None or any(size is None for size in shape[1:]):
        raise ValueError(f"the shape of {value.name} is not known; give the model fixed input sizes")
    return tuple(1 if size is None else size for size in shape)


def _pick(
    model: ir.Model, value: ir.Value, shape: tuple[int, ...], axis: int | None, samples: int
) -> tuple[ir.Value, int]:
    """A centred grid over the non-channel axes: [1, 64, 56, 56] and 4096 samples → 8 x 8 positions, steps 7, 7.

    At least three positions along each axis: what padding does to the border must not be all that is seen.
    """
    steps = [1] * len(shape)
    grid = [i for i in range(len(shape)) if i not in (0, axis)] or list(range(1, len(shape)))

    def counts() -> list[int]:
        return [math.ceil(size / step) for size, step in zip(shape, steps, strict=True)]

    while math.prod(counts()) > samples:
        coarser = [i for i in grid if math.ceil(shape[i] / (steps[i] + 2)) >= _LEAST_POSITIONS]
        if not coarser:
            break
        steps[max(coarser, key=lambda i: counts()[i])] += 2
    cut = [i for i, step in enumerate(steps) if step > 1]
    if not cut:
        return value, math.prod(shape)
    starts = [(shape[i] - 1 - (counts()[i] - 1) * steps[i]) // 2 for i in cut]
    constants = [
        add_initializer(model, f"{value.name}.grid_{what}", np.array(numbers, np.int64))
        for what, numbers in (
            ("starts", starts),
            ("ends", [shape[i] for i in cut]),
            ("axes", cut),
            ("steps", [steps[i] for i in cut]),
        )
    ]
    node = ir.node("Slice", [value, *constants])
    model.graph.append(node)
    return _named(node.outputs[0], f"{value.name}.grid"), math.prod(counts())


def _reshape(graph: ir.Graph, value: ir.Value, flat: ir.Value) -> ir.Value:
    node = ir.node("Reshape", [value, flat])
    graph.append(node)
    return _named(node.outputs[0], f"{value.name}.flat")


def _named(value: ir.Value, name: str) -> ir.Value:
    value.name = name
    return value


def _drop_unused(model: ir.Model) -> None:
    from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

    NameFixPass()(model)
    RemoveUnusedNodesPass()(model)
