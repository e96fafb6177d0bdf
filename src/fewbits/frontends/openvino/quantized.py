"""Integers with scale and zero point: weights kept in 8 bits, and the grids of FakeQuantize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# The ranges are FP32 numbers themselves: a zero point this far from an integer, in steps, is that integer.
_TOLERANCE: Final = 2e-3


@dataclass(frozen=True)
class Quantized:
    """w = (integers - zero_point) * scale; scale and zero point have the integers' rank and broadcast to them."""

    integers: Array
    scale: Array
    zero_point: Array

    def dequantized(self) -> Array:
        """float32, in the order OpenVINO computes it: convert, subtract, multiply."""
        shifted = self.integers.astype(np.float32)
        if self.zero_point.any():
            shifted -= self.zero_point.astype(np.float32)
        return shifted if (self.scale == 1).all() else shifted * self.scale.astype(np.float32)

    def moved(self, layout: Callable[[Array], Array]) -> Quantized:
        """The same numbers in another layout: integers [2, 3], scale [2, 1], transposed → [3, 2], [1, 2]."""
        return Quantized(
            np.ascontiguousarray(layout(self.integers)),
            *(_follow(array, self.integers.shape, layout) for array in (self.scale, self.zero_point)),
        )

    def axis(self) -> int | None:
        """The axis along which scale or zero point differ, -1 for none; None where they differ along several."""
        shape = np.broadcast_shapes(self.scale.shape, self.zero_point.shape)
        wide = [axis for axis, size in enumerate(shape) if size > 1]
        return None if len(wide) > 1 else (wide or [-1])[0]

    def is_linear(self) -> bool:
        """Whether ONNX's DequantizeLinear says it: one axis at most, a zero point the integers' type holds."""
        info = np.iinfo(self.integers.dtype)
        inside = bool(((self.zero_point >= info.min) & (self.zero_point <= info.max)).all())
        plain = bool((self.scale == 1).all() and not self.zero_point.any())
        return inside and not plain and self.axis() is not None and bool((self.scale > 0).all())


def _follow(array: Array, shape: tuple[int, ...], layout: Callable[[Array], Array]) -> Array:
    if array.size == 1:
        return array.reshape((1,) * layout(np.broadcast_to(array, shape)).ndim)
    moved = layout(np.broadcast_to(array, shape))
    for axis in range(moved.ndim):  # back to size 1 wherever nothing changes along the axis
        first = moved.take([0], axis)
        if moved.shape[axis] > 1 and (moved == first).all():
            moved = first
    return np.ascontiguousarray(moved)


# Numbers known before the model runs.
Known = NDArray[Any] | Quantized


@dataclass(frozen=True)
class Grid:
    """``levels`` numbers at equal distances: scale * (q - zero_point), q = 0 … levels - 1."""

    scale: Array
    zero_point: Array
    levels: int

    @property
    def signed(self) -> bool:
        """Whether int8 holds it with 0 at 0."""
        return bool((self.zero_point == self.levels // 2).all() and self.levels in (255, 256))

    def stored(self) -> tuple[Array, int, type[np.int8] | type[np.uint8]]:
        """(zero point of the 8-bit integers, what to take off q to get them, their type)."""
        shift = self.levels // 2 if self.signed else 0
        return self.zero_point - shift, shift, np.int8 if self.signed else np.uint8


def grid(low: Array, high: Array, levels: int) -> Grid | None:
    """The grid of a range, or None where 0 is none of its numbers: no integer zero point would say it.

    Raises:
        ValueError: fewer than two levels, or a range that is empty or not finite.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if levels < 2 or not np.isfinite(low).all() or not np.isfinite(high).all() or (high <= low).any():
        raise ValueError("a quantizer's range is empty or not finite, or has fewer than two levels")
    if levels > 256:
        return None
    scale = (high - low) / (levels - 1)
    zero = -low / scale
    rounded = np.rint(zero)
    if (np.abs(zero - rounded) > _TOLERANCE).any() or (rounded < 0).any() or (rounded >= levels).any():
        return None
    with np.errstate(over="ignore", under="ignore"):
        narrow = scale.astype(np.float32)
    return None if (narrow <= 0).any() else Grid(narrow, rounded.astype(np.int32), levels)


def fake_quantized(array: Array, ranges: list[Array], levels: int) -> Quantized | None:
    """What FakeQuantize makes of constants, or None where 8-bit integers cannot say it.

    q = round((clip(w, low, high) - low) / (high - low) * (levels - 1)), ties to even; then on the output's grid.

    Args:
        array: float32 weights.
        ranges: input low and high, output low and high, that broadcast to the weights.
        levels: how many numbers the grid has.

    Raises:
        ValueError: as ``grid``.
    """
    low, high, out_low, out_high = (
        np.asarray(edge, np.float32).reshape((1,) * (array.ndim - np.ndim(edge)) + np.shape(edge)) for edge in ranges
    )
    outputs = grid(out_low, out_high, levels)
    grid(low, high, levels)
    if outputs is None:
        return None
    zero, shift, dtype = outputs.stored()
    q = np.rint((np.clip(array, low, high) - low) / (high - low) * np.float32(levels - 1))
    return Quantized((q - shift).astype(dtype), outputs.scale, zero)
