"""Taps: a model that also reports what it computes inside, reduced in the graph so that little leaves the engine.

Of a value x [1, C, H, W] calibration wants the extremes of each channel, f32[C], and a sample of its numbers for
moments and a histogram. All of it is joined into one output: a network with sixty taps then hands over one array per
run, not two hundred, and an engine that walks the graph from its outputs reduces each value while it is in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer

OUTPUT = "fewbits_taps"
MINIMUM, MAXIMUM, MEAN = "ReduceMin", "ReduceMax", "ReduceMean"
EXTREMES = (MINIMUM, MAXIMUM)
_LEAST_POSITIONS = 3
_CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class Tap:
    """What of one value lies in the joined output: each reduction of all channels, then the sample.

    Args:
        shape: of the sample, [..., C, ...].
        axis: the axis of it that holds the channels; None for a value without channels.
    """

    name: str
    channels: int
    reductions: tuple[str, ...]
    shape: tuple[int, ...] = (0,)
    axis: int | None = None

    @property
    def sampled(self) -> int:
        """How many numbers the sample has."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """How many numbers one run hands over."""
        return len(self.reductions) * self.channels + self.sampled

    def by_channel(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples [N, sampled] as [N, before, C, after]."""
        before = math.prod(self.shape[: self.axis]) if self.axis is not None else 1
        return samples.reshape(len(samples), before, self.channels if self.axis is not None else 1, -1)


@dataclass(frozen=True)
class TapLayout:
    """Where each tap lies in the joined output, one after the other."""

    taps: tuple[Tap, ...]

    @property
    def size(self) -> int:
        """How many numbers one run hands over."""
        return sum(tap.size for tap in self.taps)

    def positions(self, reduction: str) -> list[slice]:
        """Where the channels of this reduction stand, of each tap that has it, in order."""
        return [
            slice(a + i * tap.channels, a + (i + 1) * tap.channels)
            for a, tap in zip(self._starts(), self.taps, strict=True)
            for i, name in enumerate(tap.reductions)
            if name == reduction
        ]

    def samples(self) -> list[slice]:
        """Where each tap's sample stands."""
        return [slice(a + t.size - t.sampled, a + t.size) for a, t in zip(self._starts(), self.taps, strict=True)]

    def _starts(self) -> list[int]:
        return list(itertools.accumulate((tap.size for tap in self.taps), initial=0))[:-1]


def channel_axis(value: ir.Value) -> int | None:
    """The axis that holds channels: [N, C, H, W] → 1, [N, T, C] → 2, [N, C, T] around a convolution → 1, [N] → none."""
    rank = len(queries.dims_or_raise(value))
    if rank == 3:
        producer = value.producer()
        made = None if producer is None else producer.op_type
        read = made not in ("Gemm", "MatMul") and any(node.op_type in _CONVOLUTIONS for node in queries.users(value))
        return 1 if read or made in _CONVOLUTIONS else 2
    return None if rank < 2 else 1


def tapped(
    model: ir.Model, names: Sequence[str], samples: int, reductions: tuple[str, ...] = EXTREMES
) -> tuple[ir.Model, TapLayout]:
    """A copy of the model, for batch 1, whose only output is the joined reductions of the named values.

    Values that cannot be negative, such as a ReLU's, have no minimum taken: it is 0 or as good as.

    Args:
        samples: about how many numbers of each value to hand over (a regular grid over the spatial axes with odd
            steps, so that strided patterns are not missed; all channels). 0 for none.

    Raises:
        ValueError: a named value has no shape that is known for batch 1.
    """
    model = model.clone()
    graph = model.graph
    values = {v.name: v for node in graph for v in node.outputs} | {v.name: v for v in graph.inputs}
    graph.outputs.clear()
    parts: list[ir.Value] = []
    taps = []
    flat = add_initializer(model, "fewbits_flat", np.array([-1], np.int64))
    for name in names:
        value = values[name]
        shape = _single(value)
        axis = channel_axis(value)
        over = tuple(i for i in range(len(shape)) if i != axis)
        wanted = tuple(op for op in reductions if op != MINIMUM or not queries.never_negative(value))
        for op in wanted:
            reduced = _named(_reduce(model, op, value, over).outputs[0], f"{name}.{op}")
            parts.append(reduced if axis is not None else _reshape(graph, reduced, flat))
        picked: tuple[int, ...] = (0,)
        if samples:
            grid, picked = _pick(model, value, shape, axis, samples)
            parts.append(_reshape(graph, grid, flat))
        taps.append(Tap(name, 1 if axis is None else shape[axis], wanted, picked, axis))
    layout = TapLayout(tuple(taps))
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
) -> tuple[ir.Value, tuple[int, ...]]:
    """A centred grid over the non-channel axes: [1, 64, 56, 56] and 4096 samples → 8 x 8 positions, steps 7, 7.

    At least three positions along each axis: what padding does to the border must not be all that is seen.
    """
    steps = [1] * len(shape)
    grid = [i for i in range(len(shape)) if i not in (0, axis)]

    def counts() -> list[int]:
        return [math.ceil(size / step) for size, step in zip(shape, steps, strict=True)]

    while math.prod(counts()) > samples:
        coarser = [i for i in grid if math.ceil(shape[i] / (steps[i] + 2)) >= _LEAST_POSITIONS]
        if not coarser:
            break
        steps[max(coarser, key=lambda i: counts()[i])] += 2
    cut = [i for i, step in enumerate(steps) if step > 1]
    if not cut:
        return value, shape
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
    return _named(node.outputs[0], f"{value.name}.grid"), tuple(counts())


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
