"""Edits that more than one rewrite needs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries

_LARGE_BYTES = 1 << 24


def add_initializer(model: ir.Model, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Register an array under a name that is not taken yet (a counter is appended where it is)."""
    graph, unique, counter = model.graph, name, 0
    while unique in graph.initializers:
        counter += 1
        unique = f"{name}_{counter}"
    # Not ir.tensor(): it first asks what kind of array this is, which took a third of a quantized model's building.
    tensor = ir.Tensor(array, name=unique)
    value = ir.Value(name=unique, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_rounded(model: ir.Model, name: str, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Register a constant in another format; large ones are rounded when they are written, one after the other."""
    array, kind = queries.constant(value), dtype.numpy()
    if array is None:
        raise ValueError(f"{value.name} is no constant")
    if array.nbytes < _LARGE_BYTES:
        with np.errstate(over="ignore"):  # becomes infinity, as in the format's own arithmetic
            return add_initializer(model, name, array.astype(kind))
    held = value.const_value
    assert held is not None
    added = add_initializer(model, name, np.empty((0,), kind))
    added.shape = ir.Shape(array.shape)
    added.const_value = ir.LazyTensor(
        lambda: ir.tensor(held.numpy().astype(kind)), dtype=dtype, shape=ir.Shape(array.shape), name=added.name
    )
    return added


def replace_input(model: ir.Model, node: ir.Node, index: int, value: ir.Value) -> None:
    """Feed input ``index`` of ``node`` from ``value``; an initializer that nobody reads any more goes."""
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    old = node.inputs[index]
    node.replace_input_with(index, value)
    if old is not None and old.name and old.is_initializer() and not old.uses() and not old.is_graph_output():
        del model.graph.initializers[old.name]
