"""Edits that more than one rewrite needs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def add_initializer(model: ir.Model, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Register an array under a name that is not taken yet (a counter is appended where it is)."""
    graph, unique, counter = model.graph, name, 0
    while unique in graph.initializers:
        counter += 1
        unique = f"{name}_{counter}"
    tensor = ir.tensor(array, name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
