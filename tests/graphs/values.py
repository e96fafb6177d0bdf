"""Values, inputs and the style of a graph under construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from .steps import Array

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


class NoFitError(Exception):
    """A recipe finds nothing in scope that it could read, or drew what does not run."""


@dataclass(frozen=True)
class Value:
    """A value of the graph, and what it is on every probe (an assignment of sizes to the free dimensions)."""

    name: str
    probes: tuple[Array, ...]
    constant: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.probes[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """On the first probe."""
        return self.probes[0].shape

    @property
    def rank(self) -> int:
        return self.probes[0].ndim

    @property
    def dims(self) -> tuple[int | None, ...]:
        """Sizes, None where the probes differ."""
        return tuple(
            sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*(p.shape for p in self.probes), strict=True)
        )

    @property
    def is_float(self) -> bool:
        return self.dtype == F32


@dataclass(frozen=True)
class Input:
    """An input of the graph: free dimensions by name, and how its numbers are drawn."""

    name: str
    dims: tuple[int | str, ...]
    kind: str

    @property
    def batched(self) -> bool:
        return bool(self.dims) and self.dims[0] in ("N", 1)

    def draw(self, rng: np.random.Generator, sizes: dict[str, int]) -> Array:
        """Numbers a person would feed: bounded normal ones, positions, masks, grey values, lengths."""
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.dims)
        if self.kind == "mask":  # at least one place of every row is open
            mask = rng.random(shape) < 0.7
            if mask.ndim:
                mask[..., 0] = True
            return mask.astype(np.float32)
        if self.kind == "bool":
            return np.asarray(rng.random(shape) < 0.6)
        if self.kind == "uint8":
            return rng.integers(0, 256, shape).astype(np.uint8)
        if self.kind.startswith("ids"):  # ids32:11 are int32 positions below 11
            dtype, below = self.kind[3:].split(":")
            return np.asarray(rng.integers(0, int(below), shape)).astype("int32" if dtype == "32" else "int64")
        numbers = np.clip(rng.standard_normal(shape), -2.5, 2.5)
        return np.asarray(numbers).astype({"f16": np.float16, "f64": np.float64}.get(self.kind, np.float32))


@dataclass
class Style:
    """What a whole graph has in common."""

    opset: int
    batch: int | str = "N"
    constants: str = "initializer"  # or "node", "mixed", "ir3"
    names: str = "plain"  # or "hostile", "paths", "unnamed"
    probes: tuple[dict[str, int], ...] = ({},)


def element_type(value: Value) -> int:
    """ONNX's number of its type."""
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))
