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


def stand_in(old: ir.Value, new: ir.Value) -> bool:
    """Let readers of ``old`` read ``new``, which holds the same numbers; whether the node that made ``old`` may go.

    An output of a graph has its name and a node of that graph that makes it. Where ``new`` cannot have both, the node
    stays for that output.
    """
    producer, maker = old.producer(), new.producer()
    assert producer is not None
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return True
    graph = producer.graph
    if maker is None or maker.graph is not graph or new.is_graph_output() or graph is None:
        for use in tuple(old.uses()):
            use.node.replace_input_with(use.idx, new)
        return False
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name, new.name = f"{name}.before", name
    return True
