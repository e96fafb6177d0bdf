"""What a conversion sees: one layer, its input values, and the means to write nodes in its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.frontends.caffe.caffemodel import Blob
from fewbits.frontends.caffe.moments import Moments
from fewbits.frontends.caffe.net import Layer
from fewbits.frontends.caffe.parameters import Parameters
from fewbits.frontends.caffe.weights import Weights
from fewbits.frontends.caffe.writer import Attributes, Inputs, Writer


class BatchError(Exception):
    """A layer computes across samples or needs to know how many there are; ``str`` says which and why."""


@dataclass
class Step:
    """One layer being written.

    ``moments`` are the estimates for the layer's inputs (random weights are drawn by them); a conversion that changes
    them sets ``moments_out``. ``scale`` is the Scale layer that a BatchNorm takes in, ``absorbed`` tells a Scale
    layer that this has happened.
    """

    layer: Layer
    params: Parameters
    inputs: tuple[ir.Value, ...]
    writer: Writer
    weights: Weights
    moments: tuple[Moments, ...]
    scale: Layer | None = None
    absorbed: bool = False
    moments_out: Moments | None = None

    @property
    def x(self) -> ir.Value:
        """The first input."""
        return self.inputs[0]

    def op(self, op_type: str, inputs: Inputs, attributes: Attributes | None = None, part: str = "") -> ir.Value:
        """Write a node named after the layer, ``part`` telling it from the layer's main one."""
        return self.ops(op_type, inputs, 1, attributes, part)[0]

    def ops(
        self, op_type: str, inputs: Inputs, count: int, attributes: Attributes | None = None, part: str = ""
    ) -> Sequence[ir.Value]:
        """The same with several outputs."""
        name = f"{self.layer.name}.{part}" if part else self.layer.name
        try:
            return self.writer.ops(op_type, inputs, attributes or {}, name, count)
        except ValueError as error:
            raise self.error(f"its inputs do not fit it: {error}") from error

    def constant(self, array: NDArray[Any], part: str) -> ir.Value:
        """Register an initializer named after the layer."""
        return self.writer.constant(array, f"{self.layer.name}.{part}")

    def number(self, number: float, part: str) -> ir.Value:
        """A scalar FP32 initializer."""
        return self.constant(np.array(number, np.float32), part)

    def indices(self, numbers: Sequence[int], part: str) -> ir.Value:
        """An INT64 initializer: a shape, axes, places."""
        return self.constant(np.array(numbers, np.int64), part)

    def blob(
        self,
        index: int,
        shape: tuple[int, ...],
        *,
        filler: str = "",
        start: float | None = None,
        of: Layer | None = None,
        params: Parameters | None = None,
    ) -> Blob:
        """Blob ``index`` of the layer (or of another, with its ``params``); see ``Weights.blob``."""
        params = params or self.params
        rule = params.child(filler) if filler and params.has(filler) else None
        return self.weights.blob(of or self.layer, index, shape, rule, start, self.moments[0].square)

    def sizes(self, value: ir.Value) -> tuple[int, ...]:
        """The shape, 0 for a batch that is left free (as Reshape writes "keep it")."""
        assert value.shape is not None
        return tuple(size if isinstance(size, int) else 0 for size in value.shape)

    def fixed(self, value: ir.Value, why: str) -> tuple[int, ...]:
        """The shape where every size must be known.

        Raises:
            BatchError: the batch is free.
        """
        sizes = self.sizes(value)
        if 0 in sizes:
            self.mixes_samples(why)
        return sizes

    def mixes_samples(self, why: str) -> None:
        """Say that the result of one sample depends on the others; only a batch of one is safe then."""
        if any(0 in self.sizes(value) for value in self.inputs):
            raise BatchError(f"layer '{self.layer.name}' ({self.layer.type}) {why}")

    def axis(self, default: int, *, name: str = "axis", rank: int | None = None) -> int:
        """An axis of the first input counted from the front; negative ones count from the back."""
        rank = len(self.sizes(self.x)) if rank is None else rank
        axis = self.params.integer(name, default, low=-rank, high=rank - 1)
        axis = axis + rank if axis < 0 else axis
        if not 0 <= axis < rank:
            raise self.error(f"{name} {axis} of a blob of {rank} dimensions")
        return axis

    def reshape(self, value: ir.Value, sizes: Sequence[int], part: str = "") -> ir.Value:
        """Another shape for a value; a first size that stays is written as 0, which keeps any batch."""
        old = self.sizes(value)
        if tuple(sizes) == old:
            return value
        keep = bool(sizes) and bool(old) and sizes[0] == old[0]
        if not keep and 0 in old:
            self.mixes_samples("changes the shape of the batch")
        target = [0, *sizes[1:]] if keep else list(sizes)
        if math.prod(sizes[keep:]) != math.prod(old[keep:]):
            raise self.error(f"{list(old)} cannot be given the shape {list(sizes)}")
        shape = self.indices(target, f"{part}.shape" if part else "shape")
        return self.op("Reshape", [value, shape], part=part)

    def error(self, what: str, fix: str = "") -> ModelError:
        """The error with the layer's place."""
        return self.layer.fields.error(what, fix=fix)
