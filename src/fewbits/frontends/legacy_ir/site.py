"""Where a layer is built: its attributes as numbers, its inputs as values, and the tape its ONNX nodes go to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from fewbits.errors import ModelError
from fewbits.frontends.legacy_ir.records import Layer
from fewbits.frontends.legacy_ir.weights import Weights

_MOST_ENTRIES = 1 << 16


@dataclass(frozen=True, eq=False)
class Site:
    """One layer while it is built.

    Args:
        inputs: the values that feed it, by the order of its ports.
        shapes: their sizes, as the layers that make them declare.
        taken: names that constants must not have; grows.
    """

    layer: Layer
    inputs: tuple[ir.Value, ...]
    shapes: tuple[tuple[int, ...], ...]
    tape: Tape
    stored: Weights
    taken: set[str]

    @property
    def x(self) -> ir.Value:
        """The first input."""
        self.need(1)
        return self.inputs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The first input's sizes."""
        self.need(1)
        return self.shapes[0]

    @property
    def out(self) -> tuple[int, ...]:
        """What the layer declares for its first output."""
        if not self.layer.outputs:
            raise self.fail("it has no output port")
        return self.layer.outputs[0].dims

    def need(self, count: int) -> None:
        """Raise ``ModelError`` unless there are this many inputs."""
        if len(self.inputs) < count:
            raise self.fail(f"it needs {count} inputs and has {len(self.inputs)}")

    def fail(self, what: str, fix: str = "convert the original model again") -> ModelError:
        """An error about this layer."""
        return ModelError(what, where=place(self.layer), fix=fix)

    def text(self, key: str, default: str | None = None) -> str:
        """An attribute; required where there is no default."""
        found = self.layer.data.get(key, default)
        if found is None:
            raise self.fail(f"attribute {key} is missing")
        return found

    def reals(self, key: str, default: Sequence[float] | None = None) -> list[float]:
        """A list of numbers, separated by commas; an empty text is an empty list."""
        if key not in self.layer.data and default is not None:
            return list(default)
        text = self.text(key)
        try:
            found = [float(part) for part in text.split(",") if part.strip()]
        except ValueError as error:
            raise self.fail(f"attribute {key} is '{text[:40]}', not numbers") from error
        if not all(map(math.isfinite, found)) or len(found) > _MOST_ENTRIES:
            raise self.fail(f"attribute {key} holds infinities or too many numbers")
        return found

    def ints(self, key: str, default: Sequence[int] | None = None) -> list[int]:
        """A list of whole numbers."""
        found = self.reals(key, default)
        if any(number != int(number) or abs(number) >= 1 << 31 for number in found):
            raise self.fail(f"attribute {key} is '{self.text(key)[:40]}', not whole numbers")
        return [int(number) for number in found]

    def real(self, key: str, default: float | None = None) -> float:
        """One number."""
        found = self.reals(key, None if default is None else [default])
        if len(found) != 1:
            raise self.fail(f"attribute {key} is no single number")
        return found[0]

    def whole(self, key: str, default: int | None = None) -> int:
        """One whole number."""
        found = self.ints(key, None if default is None else [default])
        if len(found) != 1:
            raise self.fail(f"attribute {key} is no single number")
        return found[0]

    def flag(self, key: str, default: bool = False) -> bool:
        """An attribute that is 0 or 1, or true or false."""
        text = self.layer.data.get(key, str(default)).strip().lower()
        if text not in ("0", "1", "true", "false"):
            raise self.fail(f"attribute {key} is '{text[:40]}', neither true nor false")
        return text in ("1", "true")

    def axis(self, key: str = "axis", default: int | None = None, rank: int | None = None) -> int:
        """An axis of the first input, counted from 0."""
        rank = len(self.shape) if rank is None else rank
        axis = self.whole(key, default)
        if not -rank <= axis < rank:
            raise self.fail(f"{key} {axis} is no axis of {rank}")
        return axis % rank

    def blob(self, kind: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """Weights or biases in that shape; None where the layer has none."""
        held = self.layer.blobs.get(kind)
        if held is None:
            return None
        return self.stored.shaped(held, self.layer.precision, shape, place(self.layer)).astype(np.float32, copy=False)

    def required(self, kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The same where the layer must have them."""
        found = self.blob(kind, shape)
        if found is None:
            raise self.fail(f"it has no {kind}")
        return found

    def constant(self, index: int) -> NDArray[Any]:
        """What an input holds where it comes from a Const layer."""
        self.need(index + 1)
        tensor = self.inputs[index].const_value
        if tensor is None:
            raise self.fail(f"its input {index} is not constant")
        return tensor.numpy()

    def const(self, kind: str, array: NDArray[np.generic]) -> ir.Value:
        """A constant of this layer's own."""
        name = f"{self.layer.name}/{kind}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return self.tape.initializer(ir.tensor(array, name=name))

    def numbers(self, kind: str, *numbers: float) -> ir.Value:
        """FP32 numbers as a constant: one as a scalar, more as a vector."""
        return self.const(kind, np.array(numbers[0] if len(numbers) == 1 else numbers, np.float32))

    def indices(self, kind: str, numbers: Sequence[int]) -> ir.Value:
        """Whole numbers (shapes, axes) as a constant vector."""
        return self.const(kind, np.array(numbers, np.int64))

    def op(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A node with one output."""
        return self.tape.op(kind, inputs, attributes)

    def reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """The value in another shape."""
        return self.op("Reshape", value, self.indices("shape", shape))

    def per_channel(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """f32[C] so that it meets axis 1: [C, 1, 1] for an input [N, C, H, W]."""
        return array.reshape(-1, *(1,) * max(len(self.shape) - 2, 0))


def place(layer: Layer) -> str:
    """Where a layer is, for an error: its name, type and line."""
    line = f", line {layer.line}" if layer.line else ""
    return f"layer {layer.name} ({layer.type}{line})"
