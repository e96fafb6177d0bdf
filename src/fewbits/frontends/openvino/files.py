"""What can be told of a file before a native reader sees it: each kind of file has one check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from fewbits.errors import ModelError
from fewbits.frontends.openvino.ir_text import check_ir
from fewbits.frontends.openvino.wire import WireError, check_graph_def, check_message

# TensorFlow's and TensorFlow Lite's own formats end here as well.
_MOST_BYTES: Final = 2**31
_MOST_FILES: Final = 10_000


def check(path: Path) -> str:
    """Refuse what is not the kind of file its name says, is cut off, or points outside its folder.

    Returns:
        A phrase that says what the file is, such as ``OpenVINO IR v11``.

    Raises:
        ModelError: see above.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _saved_model(path)
    if path.suffix.lower() not in _CHECKS:
        raise ModelError(
            f"OpenVINO reads no '{path.suffix or path.name}' files",
            where=str(path),
            fix=f"give one of {', '.join(_CHECKS)}, or a SavedModel folder",
        )
    return _CHECKS[path.suffix.lower()](path)


def _saved_model(path: Path) -> str:
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise ModelError(
            "this folder holds no saved_model.pb", where=str(path), fix="name a SavedModel folder or a model file"
        )
    folder = path.resolve()
    for count, file in enumerate(path.rglob("*")):
        if count > _MOST_FILES:
            raise ModelError(f"this folder holds more than {_MOST_FILES} files", where=str(path))
        if not file.resolve().is_relative_to(folder):
            raise ModelError(
                f"{file.relative_to(path)} points outside the model's folder", where=str(path), fix="copy it into it"
            )
    _wire(graph, check_message)
    return "TensorFlow SavedModel through OpenVINO"


def _frozen_graph(path: Path) -> str:
    if path.name == "saved_model.pb":
        raise ModelError("this is a part of a SavedModel", where=str(path), fix="name its folder")
    _wire(path, check_graph_def)
    return "TensorFlow frozen graph through OpenVINO"


def _paddle(path: Path) -> str:
    weights = path.with_suffix(".pdiparams")
    if weights.exists() and weights.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise ModelError(f"{weights.name} points outside the model's folder", where=str(path), fix="copy it into it")
    _wire(path, check_message)
    return "PaddlePaddle through OpenVINO"


def _tflite(path: Path) -> str:
    """A FlatBuffer: the place of its root table in the first four bytes, its name in the next four."""
    size = _size(path)
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[4:] != b"TFL3" or not 8 <= int.from_bytes(head[:4], "little") < size:
        raise ModelError("not a TensorFlow Lite model, or cut off", where=str(path), fix="export it again")
    return "TensorFlow Lite through OpenVINO"


def _wire(path: Path, check: Callable[[memoryview], None]) -> None:
    _size(path)
    try:
        check(memoryview(path.read_bytes()))
    except WireError as error:
        raise ModelError(str(error), where=str(path), fix="export it again") from error


def _size(path: Path) -> int:
    if not path.is_file():
        raise ModelError("this is not a file", where=str(path), fix="name the model file in it")
    size = path.stat().st_size
    if size >= _MOST_BYTES:
        raise ModelError("larger than 2 GiB", where=str(path), fix="export it as OpenVINO IR or ONNX")
    return size


_CHECKS: Final[dict[str, Callable[[Path], str]]] = {
    ".xml": check_ir,
    ".pb": _frozen_graph,
    ".tflite": _tflite,
    ".pdmodel": _paddle,
}
