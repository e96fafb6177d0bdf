"""What OpenVINO says in two operations and ONNX in one: a convolution and its bias, the two sides of a Clip."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer

# What OpenVINO's readers call a convolution whose bias they took out; the Add behind it carries its name.
_WITHOUT: Final = "/WithoutBiases"


def join_biases(model: ir.Model) -> None:
    """Give every convolution the constant that is added to it by channel, where nothing else reads it."""
    for node in list(model.graph):
        plain = node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) == 2
        found = _sole_reader(node, "Add") if plain else None
        if found is None:
            continue
        reader, other = found
        bias = _by_channel(node.outputs[0], queries.constant(other))
        if bias is not None:
            if (node.name or "").endswith(_WITHOUT):
                node.name = reader.name
            node.resize_inputs(3)
            node.replace_input_with(2, add_initializer(model, f"{node.name}/bias", bias))
            _absorb(model, node, reader)


def join_clips(model: ir.Model) -> None:
    """Make a Clip of a Max and a Min with one number each; it keeps the name of the second."""
    for node in list(model.graph):
        if node.op_type != "Max" or len(node.inputs) != 2:
            continue
        found = _sole_reader(node, "Min")
        low, value = sorted(node.inputs, key=queries.is_constant, reverse=True)
        if found is None or value is None or queries.is_constant(value):
            continue
        reader, high = found
        numbers = [queries.constant(limit) for limit in (low, high)]
        if any(array is None or array.size != 1 or array.ndim > _rank(value) for array in numbers):
            continue
        limits = [
            add_initializer(model, f"{reader.name}/{side}", np.array(array).reshape(()))
            for side, array in zip(("min", "max"), numbers, strict=True)
        ]
        clip = ir.node("Clip", [value, *limits], name=reader.name)
        model.graph.insert_before(node, clip)
        ir.convenience.replace_all_uses_with(node.outputs[0], clip.outputs[0])
        model.graph.remove(node, safe=True)
        _absorb(model, clip, reader)


def _rank(value: ir.Value) -> int:
    dims = queries.dims(value)
    return 0 if dims is None else len(dims)


def _sole_reader(node: ir.Node, op_type: str) -> tuple[ir.Node, ir.Value | None] | None:
    """(the one node of this type that alone reads the node's result, what else it reads)."""
    result = node.outputs[0]
    readers = list(result.uses())
    if len(readers) != 1 or result.is_graph_output() or readers[0].node.op_type != op_type:
        return None
    reader, side = readers[0].node, readers[0].idx
    return (reader, reader.inputs[1 - side]) if len(reader.inputs) == 2 else None


def _by_channel(result: ir.Value, numbers: NDArray[np.generic] | None) -> NDArray[np.generic] | None:
    """[1, C, 1, 1], [C, 1, 1] or one number for [N, C, H, W] → [C]; None for anything else."""
    dims = queries.dims(result)
    if numbers is None or dims is None or len(dims) < 3 or dims[1] is None or numbers.ndim > len(dims):
        return None
    shape = (1,) * (len(dims) - numbers.ndim) + numbers.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, dims[1]):
        return None
    return np.array(np.broadcast_to(numbers.reshape(-1), (dims[1],)))


def _absorb(model: ir.Model, node: ir.Node, reader: ir.Node) -> None:
    """Let the node give what its reader gave."""
    result, joined = node.outputs[0], reader.outputs[0]
    name = joined.name
    result.type, result.shape = joined.type, joined.shape
    ir.convenience.replace_all_uses_with(joined, result, replace_graph_outputs=True)
    model.graph.remove(reader, safe=True)
    result.name = name
