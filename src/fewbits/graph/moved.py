"""The original file once more, with its numbers moved a little or other sizes declared; nothing else is touched.

No frontend and no rewrite has a part in it: the message is edited and written again. Weights go to a file beside it
one by one, so that at most one of them is in memory besides the message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from fewbits.graph.files import read_proto

_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
# What these inputs hold decides sizes, and a size is not rounded.
_SIZES: Final = {"Resize": range(1, 4), "Upsample": range(1, 2), "Range": range(3)}
_BESIDE_BYTES: Final = 1 << 20
_BLOCK: Final = 1 << 22
_FEW: Final = 16


@dataclass(frozen=True)
class Edit:
    """What changes.

    Attributes:
        reach: every constant moves by up to this share of itself, evenly spread; 0 leaves them as they are.
        shapes: inputs declared with these sizes; other declared sizes are dropped then, since they may follow from it.
    """

    reach: float = 0.0
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def write_edited(path: Path, folder: Path, edit: Edit) -> Path:
    """Write the model at ``path`` to ``folder`` with the edit.

    Raises:
        ModelError: the model cannot be read.
    """
    proto = read_proto(path)
    rng = np.random.default_rng(edit.seed)
    if edit.shapes:
        _declare(proto, edit.shapes)
    made = folder / "edited.onnx"
    with (folder / "edited.data").open("wb") as beside:
        fixed = {name for nodes in _node_lists(proto) for name in _deciding_sizes(nodes)}
        for tensor in proto.graph.initializer:
            _edit(tensor, path.parent, edit.reach if tensor.name not in fixed else 0.0, rng, beside)
        for nodes in _node_lists(proto):
            for node in nodes:
                if fixed.isdisjoint(node.output):
                    _edit_constants(node, path.parent, edit.reach, rng)
    made.write_bytes(proto.SerializeToString())
    return made


def moved(array: NDArray[Any], reach: float, rng: np.random.Generator) -> NDArray[Any]:
    """Each number moved by up to ``reach`` of itself; a single one of no more than eight significant bits stays.

    Such numbers (1, 2, 0.5, 10) are exact in every format and often decide sizes or conditions.
    """
    result = np.array(array)
    few = result.size <= _FEW
    flat = result.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        share = (rng.random(part.size, np.float32) * 2 - 1).astype(np.float64) * reach
        with np.errstate(over="ignore", invalid="ignore"):
            fresh = part * (1 + share)
            mantissa = np.frexp(part.astype(np.float64))[0] * 256
            exact = ~np.isfinite(part) | (few & (mantissa == np.round(mantissa)))
            flat[start : start + _BLOCK] = np.where(exact, part, fresh).astype(part.dtype)
    return result


def _node_lists(proto: onnx.ModelProto) -> Iterator[Any]:
    """The nodes of the graph, of every graph inside it, and of local functions."""
    waiting: list[Any] = [proto.graph, *proto.functions]
    while waiting:
        graph = waiting.pop()
        yield graph.node
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []
                waiting += attribute.graphs


def _deciding_sizes(nodes: Any) -> Iterator[str]:
    for node in nodes:
        if (places := _SIZES.get(node.op_type)) is not None:
            yield from (name for index, name in enumerate(node.input) if index in places)


def _edit(tensor: onnx.TensorProto, base: Path, reach: float, rng: np.random.Generator, beside: IO[bytes]) -> None:
    """Move a weight; a large one, or one that lay in another file, goes to ``beside``."""
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if not outside and not (reach and tensor.data_type in _FLOATS):
        return
    array = onnx.numpy_helper.to_array(tensor, str(base))
    if reach and tensor.data_type in _FLOATS:
        array = moved(array, reach, rng)
    made = onnx.numpy_helper.from_array(array, tensor.name)
    made.data_type = tensor.data_type
    if outside or array.nbytes > _BESIDE_BYTES:
        start = beside.tell()
        beside.write(made.raw_data)
        made.ClearField("raw_data")
        made.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "edited.data"), ("offset", start), ("length", beside.tell() - start)):
            made.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(made)


def _edit_constants(node: onnx.NodeProto, base: Path, reach: float, rng: np.random.Generator) -> None:
    """Move what a Constant node holds; graphs inside the node have their turn, initializers of theirs too."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for tensor in attribute.g.initializer:
                _move_in_place(tensor, base, reach, rng)
        elif node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
            _move_in_place(attribute.t, base, reach, rng)


def _move_in_place(tensor: onnx.TensorProto, base: Path, reach: float, rng: np.random.Generator) -> None:
    if reach and tensor.data_type in _FLOATS:
        array = moved(onnx.numpy_helper.to_array(tensor, str(base)), reach, rng)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _declare(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for value in proto.graph.input:
        if value.name in shapes:
            del value.type.tensor_type.shape.dim[:]
            for size in shapes[value.name]:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
