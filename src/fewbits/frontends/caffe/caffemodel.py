"""Trained weights (``.caffemodel``) read from the wire format: only names and blobs, the numbers not copied.

The message (``caffe.proto``): NetParameter has ``layers`` = 2 (V1: name = 4, blobs = 6) and ``layer`` = 100 (name = 1,
blobs = 7). BlobProto has num, channels, height, width = 1 to 4, data = 5 (float), shape = 7 (dim = 1), double_data = 8;
repeated numbers come packed (one piece) or each with its own tag. NVIDIA's fork has raw_data = 12 instead, of the type
raw_data_type = 10: doubles, floats or half floats.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.files import check_name

Blob = NDArray[np.float32]

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_NET_LAYERS = {2: (4, 6), 100: (1, 7)}  # field of the net → fields of name and blobs in its layers
_LEGACY, _SHAPE, _RAW_TYPE, _RAW = (1, 2, 3, 4), 7, 10, 12
_RAW_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}
_NUMBERS: dict[int, np.dtype[Any]] = {5: np.dtype("<f4"), 8: np.dtype("<f8")}
_MOST_LAYERS = 100_000
_MOST_BLOBS = 1_000
_MOST_DIMS = 32
_FIX = "the file is cut off or no .caffemodel: fetch it again"


def read(path: Path) -> dict[str, list[Blob]]:
    """Blobs by layer name, as views of the mapped file; a layer without blobs is not listed.

    Raises:
        ModelError: no such file, not a caffemodel, cut off, or a blob whose shape and numbers disagree.
    """
    check_name(path)
    if not path.is_file():
        raise ModelError("no such file", where=str(path), fix="check the path of the weights")
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelError("the file is empty or cannot be read", where=str(path), fix=_FIX) from error
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        raise ModelError("weights saved as HDF5", where=str(path), fix="save them with snapshot_format: BINARYPROTO")
    return _Reader(data, path).net()


class _Field(NamedTuple):
    """One field on the wire; of a varint its value stands for ``start``."""

    number: int
    wire: int
    start: int
    stop: int


class _Reader:
    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.layer = ""

    def net(self) -> dict[str, list[Blob]]:
        found: dict[str, list[Blob]] = {}
        count = 0
        for field in self._fields(0, len(self.data)):
            if field.number in _NET_LAYERS and field.wire == _BYTES:
                count += 1
                if count > _MOST_LAYERS:
                    raise self._error(f"more than {_MOST_LAYERS} layers", field.start)
                name, blobs = self._layer(field, *_NET_LAYERS[field.number])
                if blobs:
                    found[name] = blobs
        return found

    def _layer(self, layer: _Field, name_field: int, blobs_field: int) -> tuple[str, list[Blob]]:
        self.layer = ""
        places = []
        for field in self._fields(layer.start, layer.stop):
            if field.number == name_field and field.wire == _BYTES:
                self.layer = self.data[field.start : field.stop].decode(errors="replace")
            elif field.number == blobs_field and field.wire == _BYTES:
                places.append((field.start, field.stop))
        if len(places) > _MOST_BLOBS:
            raise self._error(f"more than {_MOST_BLOBS} blobs", layer.start)
        return self.layer, [self._blob(*place) for place in places]

    def _blob(self, start: int, stop: int) -> Blob:
        legacy, shape, raw, pieces = [0, 0, 0, 0], None, _RAW_TYPES[0], list[NDArray[Any]]()
        at = start
        while at < stop:
            field = self._field(at, stop)
            kind = _NUMBERS.get(field.number)
            if kind is not None and field.wire == _BYTES:
                pieces.append(self._packed(kind, field))
            elif kind is not None:
                pieces.append(self._tagged(kind, at, stop))
                at += pieces[-1].size * (kind.itemsize + 1)
                continue
            elif field.number in _LEGACY and field.wire == _VARINT:
                legacy[field.number - 1] = field.start
            elif field.number == _SHAPE and field.wire == _BYTES:
                shape = self._dims(field)
            elif field.number == _RAW_TYPE and field.wire == _VARINT:
                if field.start not in _RAW_TYPES:
                    raise self._error(f"raw numbers of the unknown type {field.start}", at, "save it with BVLC Caffe")
                raw = _RAW_TYPES[field.start]
            elif field.number == _RAW and field.wire == _BYTES:
                pieces.append(self._packed(raw, field))
            at = field.stop
        numbers = pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, np.float32)])
        if shape is None:
            shape = tuple(legacy) if any(legacy) else (numbers.size,)
        if math.prod(shape) != numbers.size:
            raise self._error(f"a blob of shape {list(shape)} holds {numbers.size} numbers", start)
        return numbers.astype(np.float32, copy=False).reshape(shape)

    def _packed(self, kind: np.dtype[Any], field: _Field) -> NDArray[Any]:
        length = field.stop - field.start
        if length % kind.itemsize:
            raise self._error(f"{length} bytes are no whole number of {kind.itemsize}-byte numbers", field.start)
        return np.frombuffer(self.data, kind, length // kind.itemsize, field.start)

    def _tagged(self, kind: np.dtype[Any], at: int, stop: int) -> NDArray[Any]:
        """The run of numbers from ``at`` that each bring the same tag: there may be millions."""
        tag = self.data[at]
        record = np.dtype([("tag", "u1"), ("number", kind)])
        records = np.frombuffer(self.data, record, (stop - at) // record.itemsize, at)
        others = np.flatnonzero(records["tag"] != tag)
        numbers: NDArray[Any] = records["number"][: others[0] if len(others) else None]
        if not numbers.size:
            raise self._error("a number of the wrong size", at)
        return numbers

    def _dims(self, field: _Field) -> tuple[int, ...]:
        dims: list[int] = []
        for dim in self._fields(field.start, field.stop):
            if dim.number == 1 and dim.wire == _VARINT:
                dims.append(dim.start)
            elif dim.number == 1 and dim.wire == _BYTES:
                at = dim.start
                while at < dim.stop and len(dims) <= _MOST_DIMS:
                    value, at = self._varint(at, dim.stop)
                    dims.append(value)
            if len(dims) > _MOST_DIMS:
                raise self._error(f"a blob of more than {_MOST_DIMS} dimensions", field.start)
        return tuple(dims)

    def _fields(self, at: int, stop: int) -> Iterator[_Field]:
        while at < stop:
            field = self._field(at, stop)
            yield field
            at = field.stop

    def _field(self, at: int, stop: int) -> _Field:
        tag, at = self._varint(at, stop)
        number, wire = tag >> 3, tag & 7
        if number == 0 or wire not in (_VARINT, _EIGHT, _BYTES, _FOUR):
            raise self._error("no field of a message", at)
        if wire == _VARINT:
            return _Field(number, wire, *self._varint(at, stop))
        length = {_EIGHT: 8, _FOUR: 4}.get(wire)
        if length is None:
            length, at = self._varint(at, stop)
        if length > stop - at:
            raise self._error(f"a field of {length} bytes where {stop - at} are left", at)
        return _Field(number, wire, at, at + length)

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= stop:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise self._error("a number that does not end", at)

    def _error(self, what: str, at: int, fix: str = _FIX) -> ModelError:
        place = f", layer '{self.layer[:80]}'" if self.layer else ""
        return ModelError(what, where=f"{self.path}: byte {at}{place}", fix=fix)
