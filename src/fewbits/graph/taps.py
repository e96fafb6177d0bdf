"""Taps: a model that also reports what it computes inside, reduced in the graph so that little leaves the engine.

Of a value x [1, C, H, W] calibration wants the extremes of each channel, f32[C], and a sample of its numbers for
moments and a histogram. All of it is joined into one output: a network with sixty taps then hands over one array per
run, not two hundred, and an engine that walks the graph from its outputs reduces each value while it is in the cache.

Small values of one size are laid side by side, [1, C1 + C2 + ..., H, W] or [1, T, C1 + C2 + ...], and reduced together:
loading a deep network of small layers with four operators for every tap took longer than running it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.graph.grid import at_steps, odd_steps

OUTPUT = "fewbits_taps"
MINIMUM, MAXIMUM, MEAN = "ReduceMin", "ReduceMax", "ReduceMean"
EXTREMES = (MINIMUM, MAXIMUM)
_CONVOLUTIONS = ("Conv", "ConvTranspose")
# Values reduced together have at most so many bytes: a core's second-level cache holds them.
_TOGETHER_BYTES = 1 << 19


@dataclass(frozen=True)
class Tap:
    """What of one value lies in the joined output, and where.

    Args:
        places: reduction → where its channels stand.
        sample: where the sample stands.
        shape: of the sample, [..., C, ...].
        axis: the axis of the sample that holds the channels; None for a value without channels.
    """

    name: str
    channels: int
    places: Mapping[str, slice]
    sample: slice
    shape: tuple[int, ...]
    axis: int | None = None

    @property
    def sampled(self) -> int:
        """How many numbers the sample has."""
        return math.prod(self.shape)

    def by_channel(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples [N, sampled] as [N, before, C, after]."""
        before = math.prod(self.shape[: self.axis]) if self.axis is not None else 1
        return samples.reshape(len(samples), before, self.channels if self.axis is not None else 1, -1)


@dataclass(frozen=True)
class TapLayout:
    """All taps, in the order of the names asked for, and how many numbers one run hands over."""

    taps: tuple[Tap, ...]
    size: int

    def positions(self, reduction: str) -> list[slice]:
        """Where the channels of this reduction stand, of each tap that has it, in order."""
        return [tap.places[reduction] for tap in self.taps if reduction in tap.places]


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
    model: ir.Model,
    names: Sequence[str],
    samples: int,
    reductions: tuple[str, ...] = EXTREMES,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[ir.Model, TapLayout]:
    """A copy of the model, for batch 1, whose only output is the joined reductions of the named values.

    Values that cannot be negative, such as a ReLU's, have no minimum taken: it is 0 or as good as.

    Args:
        samples: about how many numbers of each value to hand over (a regular grid over the spatial axes with odd
            steps, so that strided patterns are not missed; all channels). 0 for none.
        sizes: shapes of named values for one sample, where the graph does not say them.

    Raises:
        ValueError: a named value has no shape that is known for batch 1.
    """
    model = model.clone()
    values = {v.name: v for node in model.graph for v in node.outputs} | {v.name: v for v in model.graph.inputs}
    for name, known in (sizes or {}).items():
        values[name].shape = ir.Shape(known)
    model.graph.outputs.clear()
    writer = _Writer(model)
    for group in _groups([values[name] for name in names], samples, reductions):
        writer.add(group)
    joined = writer.join()
    model.graph.outputs.append(joined)
    for value in model.graph.inputs:
        if (shape := queries.dims(value)) is not None and None not in shape[1:]:
            value.shape = ir.Shape(_single(value))  # else the engine would work out all shapes twice
    _drop_unused(model)
    return model, TapLayout(tuple(writer.taps[name] for name in names), writer.size)


@dataclass
class _Group:
    """Values that are reduced together: one, or several of one size whose channels can lie side by side.

    Args:
        steps: from one position of the sample to the next, along each axis; None for no sample.
    """

    reductions: tuple[str, ...]
    axis: int | None
    steps: tuple[int, ...] | None
    values: list[ir.Value] = field(default_factory=list)
    nbytes: int = 0


def _groups(values: Sequence[ir.Value], samples: int, reductions: tuple[str, ...]) -> list[_Group]:
    """The values in groups that fit the cache, in the order in which the groups begin."""
    found: list[_Group] = []
    growing: dict[Hashable, _Group] = {}
    for value in values:
        shape, axis = _single(value), channel_axis(value)
        wanted = tuple(op for op in reductions if op != MINIMUM or not queries.never_negative(value))
        steps = odd_steps(shape, axis, samples) if samples else None
        nbytes = math.prod(shape) * np.dtype(np.float32).itemsize
        others = tuple(size for i, size in enumerate(shape) if i != axis)
        key: Hashable = (value.dtype, wanted, steps, axis, others) if axis is not None and shape[0] == 1 else value
        group = growing.get(key)
        if group is None or group.nbytes + nbytes > _TOGETHER_BYTES:
            group = growing[key] = _Group(wanted, axis, steps)
            found.append(group)
        group.values.append(value)
        group.nbytes += nbytes
    return found


class _Writer:
    """Appends the reductions of one group after the other, and notes where each value's numbers will stand."""

    def __init__(self, model: ir.Model) -> None:
        self.taps: dict[str, Tap] = {}
        self.size = 0
        self._model = model
        self._parts: list[ir.Value] = []
        self._flat = add_initializer(model, "fewbits_flat", np.array([-1], np.int64))

    def add(self, group: _Group) -> None:
        axis, values = group.axis, group.values
        along = axis if len(values) > 1 else None
        value = values[0] if along is None else self._side_by_side(values, along)
        shape = _single(value)
        over = tuple(i for i in range(len(shape)) if i != axis)
        channels = [1 if axis is None else _single(v)[axis] for v in values]
        places: list[dict[str, slice]] = [{} for _ in values]
        for op in group.reductions:
            reduced = _named(_reduce(self._model, op, value, over).outputs[0], f"{value.name}.{op}")
            self._parts.append(reduced if axis is not None else self._flattened(reduced))
            for place, cut in zip(places, self._cuts(channels), strict=True):
                place[op] = cut
        picked: tuple[int, ...] = (0,)
        if group.steps is not None:
            grid, picked = at_steps(self._model, value, shape, group.steps)
            if along is not None:
                grid, picked, axis = self._channels_first(grid, picked, along)
            self._parts.append(self._flattened(grid))
        per_channel = math.prod(picked) // sum(channels)
        cuts = self._cuts([count * per_channel for count in channels])
        for v, count, place, cut in zip(values, channels, places, cuts, strict=True):
            own = picked if along is None or group.steps is None else (1, count, *picked[2:])
            self.taps[v.name or ""] = Tap(v.name or "", count, place, cut, own, axis)

    def join(self) -> ir.Value:
        """The output that holds everything."""
        joined = self._append("Concat", self._parts, OUTPUT, axis=0)
        joined.type, joined.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([self.size])
        return joined

    def _cuts(self, sizes: Sequence[int]) -> list[slice]:
        """The next places of these sizes."""
        found = []
        for size in sizes:
            found.append(slice(self.size, self.size + size))
            self.size += size
        return found

    def _side_by_side(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        """[1, C1, H, W], [1, C2, H, W] → [1, C1 + C2, H, W]."""
        shape = list(_single(values[0]))
        shape[axis] = sum(_single(v)[axis] for v in values)
        joined = self._append("Concat", values, f"{values[0].name}.and_others", axis=axis)
        joined.type, joined.shape = values[0].type, ir.Shape(shape)
        return joined

    def _channels_first(
        self, value: ir.Value, shape: tuple[int, ...], axis: int
    ) -> tuple[ir.Value, tuple[int, ...], int]:
        """[1, T, C] → [1, C, T], where each value's channels lie in one piece."""
        if axis == 1:
            return value, shape, axis
        order = [0, axis, *(i for i in range(1, len(shape)) if i != axis)]
        turned = self._append("Transpose", [value], f"{value.name}.turned", perm=order)
        return turned, tuple(shape[i] for i in order), 1

    def _flattened(self, value: ir.Value) -> ir.Value:
        return self._append("Reshape", [value, self._flat], f"{value.name}.flat")

    def _append(self, op: str, inputs: Sequence[ir.Value], name: str, **attributes: int | list[int]) -> ir.Value:
        node = ir.node(op, inputs, attributes)
        self._model.graph.append(node)
        return _named(node.outputs[0], name)


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


def _named(value: ir.Value, name: str) -> ir.Value:
    value.name = name
    return value


def _drop_unused(model: ir.Model) -> None:
    from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

    NameFixPass()(model)
    RemoveUnusedNodesPass()(model)
