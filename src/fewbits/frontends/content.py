"""What a file's content says it is: magic numbers, an XML root, the first fields of a protobuf message, a zip's list.

Only the first 64 KiB are read, the heads of a few message fields further on, and a zip's list of members. What is no
more than likely is told by its suffix in the end; so nothing here has to be certain but what is returned.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from fewbits.frontends import kinds
from fewbits.frontends.kinds import Explained, Kind

PREFIX_BYTES = 1 << 16
_MOST_FIELDS = 32
_MOST_LIST_BYTES = 1 << 22
_VARINT, _LENGTH = 0, 2
# An IR of version 10 or later holds operator sets; OpenVINO reads no older one.
_FIRST_WITH_OPSETS = 10


def recognize(path: Path) -> Kind | Explained | None:
    """What this file holds, None where its content shows nothing known.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(PREFIX_BYTES)
        if head.startswith(b"PK\x03\x04"):
            return _zip(path)
        known = _magic(head)
        if known is not None:
            return known
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return _xml(head)
        return _message(file)


def _magic(head: bytes) -> Kind | Explained | None:
    if head[4:8] == b"TFL3":
        return Kind.TFLITE
    for magic, what in (
        (b"\x89HDF\r\n\x1a\n", kinds.HDF5),
        (b"version https://git-lfs", kinds.LFS_POINTER),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", kinds.STATE_DICT),  # torch.save before its zip format
        (b"\x80\x02", kinds.PICKLE),
        (b"\x80\x03", kinds.PICKLE),
        (b"\x80\x04", kinds.PICKLE),
        (b"\x80\x05", kinds.PICKLE),
    ):
        if head.startswith(magic):
            return what
    return None


def _xml(head: bytes) -> Kind | Explained | None:
    """By the root's start tag; a document type could define entities, so what has one is no IR."""
    root: dict[str, dict[str, str]] = {}
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        if not root:
            root[tag] = attributes

    def refuse(*_: object) -> None:
        raise ValueError

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    with contextlib.suppress(expat.ExpatError, ValueError):  # damaged further on; the root may have been read
        parser.Parse(head, False)
    if "net" in root:
        version = root["net"].get("version", "")
        old = len(version) < 3 and version.isdecimal() and int(version) < _FIRST_WITH_OPSETS
        return Kind.LEGACY_IR if old else Kind.OPENVINO
    page = head[:1024].lower()
    return kinds.WEB_PAGE if b"<html" in page or b"<!doctype html" in page else None


def _message(file: BinaryIO) -> Kind | Explained | None:
    """By the numbers and wire types of a protobuf message's first fields, as the formats' .proto files have them.

    ModelProto (ONNX): ir_version 1 varint, graph 7. GraphDef (TensorFlow): node 1, a message that begins with its name.
    SavedModel: version 1 varint, meta_graphs 2. ProgramDesc (Paddle): blocks 1, a message that begins with its index.
    NetParameter (Caffe): name 1, layers 2 or layer 100.
    """
    fields = list(_fields(file))
    shapes = {(number, wire) for number, wire, _ in fields}
    first = fields[0] if fields else (0, 0, b"")
    if (7, _LENGTH) in shapes and (1, _LENGTH) not in shapes:
        return Kind.ONNX
    if (100, _LENGTH) in shapes:
        return kinds.CAFFE_WEIGHTS
    if first[:2] == (1, _LENGTH) and first[2].startswith(b"\x0a") and shapes <= _GRAPH_DEF:
        return Kind.TENSORFLOW
    if first[:2] == (1, _LENGTH) and first[2].startswith(b"\x08\x00") and shapes <= _PROGRAM:
        return Kind.PADDLE
    if shapes == {(1, _VARINT), (2, _LENGTH)}:
        return kinds.SAVED_MODEL_FILE
    return None


_GRAPH_DEF = {(1, _LENGTH), (2, _LENGTH), (3, _VARINT), (4, _LENGTH), (5, _LENGTH)}
_PROGRAM = {(1, _LENGTH), (4, _LENGTH), (5, _LENGTH)}


def _fields(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(number, wire type, first bytes of the content) of the first fields; ends at what is no field."""
    size = file.seek(0, io.SEEK_END)
    place = 0
    for _ in range(_MOST_FIELDS):
        file.seek(place)
        head = file.read(32)
        tag, start = _varint(head, 0)
        value, end = _varint(head, start)
        wire = tag & 7
        if not start or not end or wire not in (_VARINT, _LENGTH) or not tag >> 3:
            return
        content = head[end : end + value] if wire == _LENGTH else b""
        place += end + (value if wire == _LENGTH else 0)
        if place > size:
            return
        yield tag >> 3, wire, content


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """(number, where it ends) of a protobuf varint; ends at 0 where there is none."""
    number = 0
    for index, byte in enumerate(data[start : start + 10]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, start + index + 1
    return 0, 0


class _ListOnly(io.FileIO):
    """A zip file of which no more is read at once than a list of members may take."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MOST_LIST_BYTES:
            raise zipfile.BadZipFile(f"a list of {size} bytes")
        return super().read(size)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """What a zip file says it holds; nothing is unpacked.

    Raises:
        zipfile.BadZipFile: no zip file, cut off, or one with an absurd list.
    """
    try:
        with _ListOnly(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except (ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _zip(path: Path) -> Kind | Explained:
    """By its members: torch writes its archives below one folder of any name."""
    try:
        names = [info.filename for info in members(path)]
    except zipfile.BadZipFile:
        return kinds.BROKEN_ZIP
    inner = {name.partition("/")[2] for name in names}
    if "models/model.json" in inner or "serialized_exported_program.json" in names:
        return Kind.TORCH
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return kinds.TORCHSCRIPT
    if "data.pkl" in inner:
        return kinds.STATE_DICT
    if "model.weights.h5" in names or {"config.json", "metadata.json"} <= set(names):
        return kinds.KERAS
    return kinds.ZIP
