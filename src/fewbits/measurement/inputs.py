"""What is known of a model's inputs before it is fed: names, sizes, types, and what the graph does with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits.graph.vocabulary import Use, uses


@dataclass(frozen=True)
class ModelInput:
    """One input; a free size is its symbol, or None where it has none."""

    name: str
    sizes: tuple[int | str | None, ...]
    dtype: np.dtype[np.generic]
    use: Use


def model_inputs(model: ir.Model) -> tuple[ModelInput, ...] | None:
    """The inputs in their order; None where one of them is no tensor of numbers, which nothing here can feed."""
    found, used = [], uses(model)
    for value in model.graph.inputs:
        dtype = value.dtype or ir.DataType.FLOAT
        if dtype == ir.DataType.STRING or (value.type is not None and not isinstance(value.type, ir.TensorType)):
            return None
        sizes = tuple(s if isinstance(s, int) and s >= 0 else _symbol(s) for s in value.shape or ())
        found.append(ModelInput(value.name or "", sizes, dtype.numpy(), used[value.name or ""]))
    return tuple(found)


def _symbol(size: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(size, int) or size.value is None else str(size.value)
