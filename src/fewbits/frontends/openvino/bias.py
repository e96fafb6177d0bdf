"""Add behind a convolution becomes its bias: OpenVINO's convolutions have none of their own, ONNX's have."""

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
        if node.op_type not in ("Conv", "ConvTranspose") or len(node.inputs) > 2:
            continue
        result = node.outputs[0]
        readers = list(result.uses())
        if len(readers) != 1 or result.is_graph_output() or readers[0].node.op_type != "Add":
            continue
        reader, side = readers[0].node, readers[0].idx
        bias = _by_channel(result, queries.constant(reader.inputs[1 - side]))
        if bias is not None:
            _join(model, node, reader, bias)


def _by_channel(result: ir.Value, numbers: NDArray[np.generic] | None) -> NDArray[np.generic] | None:
    """[1, C, 1, 1], [C, 1, 1] or one number for [N, C, H, W] → [C]; None for anything else."""
    dims = queries.dims(result)
    if numbers is None or dims is None or len(dims) < 3 or dims[1] is None or numbers.ndim > len(dims):
        return None
    shape = (1,) * (len(dims) - numbers.ndim) + numbers.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, dims[1]):
        return None
    return np.array(np.broadcast_to(numbers.reshape(-1), (dims[1],)))


def _join(model: ir.Model, node: ir.Node, add: ir.Node, bias: NDArray[np.generic]) -> None:
    if (node.name or "").endswith(_WITHOUT):
        node.name = add.name
    result, joined = node.outputs[0], add.outputs[0]
    name = joined.name
    node.resize_inputs(3)
    node.replace_input_with(2, add_initializer(model, f"{node.name}/bias", bias))
    result.type, result.shape = joined.type, joined.shape
    ir.convenience.replace_all_uses_with(joined, result, replace_graph_outputs=True)
    model.graph.remove(add, safe=True)
    result.name = name
