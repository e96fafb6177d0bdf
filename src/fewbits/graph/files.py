"""Reading and writing ONNX files, and handing a model to an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from fewbits.errors import ModelError
from fewbits.files import check_name, output_error, whole_folder
from fewbits.graph.queries import nbytes

# protobuf holds at most 2 GiB in one message, and three copies of it while it is written; larger models keep their
# weights in a file beside it, which is written weight by weight.
_ONE_MESSAGE_BYTES = 1_000_000_000


def read_proto(path: Path) -> onnx.ModelProto:
    """Read the ONNX message without its external data.

    Raises:
        ModelError: no such file, not an ONNX model, or external data outside the model's folder.
    """
    check_name(path)
    if not path.exists():
        raise ModelError("no such file", where=str(path), fix="check the path")
    if not path.is_file():
        raise ModelError("this is a folder, not a model file", where=str(path), fix="name the .onnx file in it")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError("not an ONNX model, or cut off", where=str(path), fix="export it again") from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelError("not an ONNX model: it holds no graph", where=str(path), fix="export it again")
    _confine_external_data(proto, path)
    return proto


def _confine_external_data(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key != "location":
                continue
            place = (folder / entry.value).resolve()
            if not place.is_relative_to(folder):
                raise ModelError(
                    f"weights of {tensor.name} point outside the model's folder ({entry.value})",
                    where=str(path),
                    fix="keep the weights file beside the model",
                )
            if not place.is_file():
                raise ModelError(
                    f"the weights file {entry.value} is missing",
                    where=str(path),
                    fix="put it beside the model",
                )


def save_onnx(model: ir.Model, path: Path) -> None:
    """Write the model whole or not at all; weights beyond one message go to ``NAME.data`` beside it."""
    with whole_folder(path) as scratch:
        _save(model, scratch / path.name)


def _save(model: ir.Model, path: Path) -> None:
    tensors = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    if sum(nbytes(tensor) for tensor in tensors) > _ONE_MESSAGE_BYTES:
        ir.save(model, path, external_data=f"{path.name}.data")
        return
    if any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors):
        model = model.clone()
        ir.external_data.load_to_model(model)  # a reference to the original's weights file would lead nowhere
    proto = ir.to_proto(model)
    _say_once(model, proto)
    path.write_bytes(proto.SerializeToString())


def _say_once(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Types and shapes that a tensor says itself are dropped: they would be a good part of a small file."""
    said = set(model.graph.initializers)
    for node in model.graph:  # a constant and its cast say it together
        if node.op_type == "Cast" and node.inputs[0] is not None and node.inputs[0].is_initializer():
            said.add(node.outputs[0].name or "")
    kept = [info for info in proto.graph.value_info if info.name not in said]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)


def release(model: ir.Model) -> None:
    """Let go of weights that are mapped from a file; they are mapped again when they are next read.

    Deleting a model does not do it at once: its nodes and values refer to each other.
    """
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value.release()


@contextmanager
def as_file(source: ir.Model | Path) -> Iterator[Path]:
    """The model as a file for an engine to read: itself, or a copy that vanishes with the block."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="fewbits-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            _save(source, path)
        except OSError as error:
            raise output_error(error, Path(tempfile.gettempdir())) from error
        yield path


def file_bytes(path: Path) -> int:
    """Bytes a model needs on disk: the file and the weights that belong to it, or everything in its folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    beside = {".xml": lambda: {path.with_suffix(".bin")}, ".onnx": lambda: _external_files(path)}
    files = {path, *beside.get(path.suffix.lower(), set)()}
    return sum(file.stat().st_size for file in files if file.is_file())


def _external_files(path: Path) -> set[Path]:
    proto = onnx.load(str(path), load_external_data=False)
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    return {path.parent / entry.value for entry in entries if entry.key == "location"}
