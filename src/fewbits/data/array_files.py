"""``.npy`` and ``.npz`` files, read as untrusted: headers first, no pickles, bounded memory."""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from fewbits.errors import DataError

MAX_ARRAY_BYTES = 2 << 30  # what all arrays loaded from one .npz may take; mapped files take nothing

_NUMBER_KINDS = "biuf"
_MAX_HEADER_BYTES = 64 << 10
# What numpy.savez writes. zipfile unpacks other methods without a limit on what one read may give.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)


@dataclass(frozen=True)
class ArrayHeader:
    """What an array file declares before its data: nothing of the data has been read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int

    @property
    def size_bytes(self) -> int:
        """Bytes of data declared."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], *, where: str) -> ArrayHeader:
    """The header of an open .npy file or member.

    Raises:
        DataError: no .npy file, Python objects (pickles are never loaded), or no plain numbers.
    """
    # NumPy reads as many header bytes as the file claims (up to 4 GB) before it looks at them.
    start = BytesIO(stream.read(_MAX_HEADER_BYTES))
    try:
        version = npy_format.read_magic(start)
        reader = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}[version]
        shape, fortran_order, dtype = reader(start)
    except Exception as error:  # a crafted header makes NumPy's parser raise nearly anything, TokenError too
        raise DataError(f"is not a NumPy array file: {error}", where=where, fix="write it with numpy.save") from error
    if dtype.kind not in _NUMBER_KINDS:
        raise DataError(
            f"holds {dtype}, not plain numbers; Python objects are never loaded",
            where=where,
            fix="save numbers: array.astype('float32')",
        )
    if any(size < 0 for size in shape):
        raise DataError(f"declares the impossible shape {shape}", where=where)
    return ArrayHeader(shape, dtype, fortran_order, start.tell())


def map_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, memory-mapped: rows are read when they are needed.

    Raises:
        DataError: unreadable, no .npy file, or shorter than its header says.
    """
    try:
        with path.open("rb") as stream:
            header = read_header(stream, where=str(path))
        return _map(path, header, available=path.stat().st_size - header.offset, where=str(path))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


class NpzFile:
    """The arrays of one .npz: ``headers`` is known at once, ``load`` reads the data.

    Raises:
        DataError: no .npz file, or an array in it has a broken header (only those asked for in
            ``names`` are looked at, so a ``classes`` array of strings does no harm).
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                self.names = tuple(members)
                self._members = {name: members[name] for name in names if name in members}
                self.headers: Mapping[str, ArrayHeader] = {
                    name: self._read_header(archive, name) for name in self._members
                }
        except _BROKEN as error:
            raise DataError(
                f"is not a readable .npz: {error}", where=str(path), fix="write it with numpy.savez"
            ) from error

    def load(self, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """The arrays ``names``: mapped where stored uncompressed, loaded whole where compressed.

        Raises:
            DataError: they need more than ``MAX_ARRAY_BYTES``, or the data is broken.
        """
        packed = [name for name in names if self._members[name].compress_type != zipfile.ZIP_STORED]
        size_bytes = sum(self.headers[name].size_bytes for name in packed)
        if size_bytes > MAX_ARRAY_BYTES:
            raise DataError(
                f"compressed arrays of {size_bytes} bytes do not fit the bound of {MAX_ARRAY_BYTES} bytes",
                where=str(self.path),
                fix="write it with numpy.savez (uncompressed: it is then read piece by piece) or as .npy",
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                return {
                    name: self._unpack(archive, name) if name in packed else self._map_member(name) for name in names
                }
        except _BROKEN as error:
            raise DataError(f"is damaged: {error}", where=str(self.path)) from error

    def _where(self, name: str) -> str:
        return f"{self.path}: array {name}"

    def _read_header(self, archive: zipfile.ZipFile, name: str) -> ArrayHeader:
        if self._members[name].compress_type not in _METHODS:
            raise DataError("is packed by an unknown method", where=self._where(name), fix="use numpy.savez_compressed")
        with archive.open(self._members[name]) as stream:
            header = read_header(stream, where=self._where(name))
        declared, stored = header.size_bytes + header.offset, self._members[name].file_size
        if declared != stored:
            raise DataError(
                f"declares {declared} bytes (shape {header.shape}), but {stored} are stored",
                where=self._where(name),
            )
        return header

    def _unpack(self, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
        header = self.headers[name]
        array = np.empty(math.prod(header.shape), header.dtype)
        with archive.open(self._members[name]) as stream:
            stream.seek(header.offset)
            # No more than the declared bytes is ever unpacked, whatever the archive holds.
            view = array.view(np.uint8).data
            done = 0
            while done < len(view):
                chunk = stream.read(min(1 << 20, len(view) - done))
                if not chunk:
                    raise DataError("ends too early", where=self._where(name))
                view[done : done + len(chunk)] = chunk
                done += len(chunk)
        return array.reshape(header.shape, order="F" if header.fortran_order else "C")

    def _map_member(self, name: str) -> NDArray[Any]:
        member, header = self._members[name], self.headers[name]
        with self.path.open("rb") as stream:
            stream.seek(member.header_offset)
            # Local file header (APPNOTE 4.3.7): 30 bytes, whose last four are the lengths that follow.
            name_length, extra_length = struct.unpack("<26x2H", stream.read(30))
        start = member.header_offset + 30 + name_length + extra_length + header.offset
        moved = ArrayHeader(header.shape, header.dtype, header.fortran_order, start)
        available = self.path.stat().st_size - start
        return _map(self.path, moved, available=available, where=self._where(name))


def _map(path: Path, header: ArrayHeader, *, available: int, where: str) -> NDArray[Any]:
    if header.size_bytes > available:
        raise DataError(
            f"declares {header.size_bytes} bytes (shape {header.shape}), but only {available} are there",
            where=where,
            fix="the file is cut off: copy it again",
        )
    if header.size_bytes == 0:  # an empty file range cannot be mapped
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload,no-any-return]


def release(array: NDArray[Any]) -> None:
    """Drop the pages of a mapped file that were read; whoever still needs one has it read again."""
    mapped: object = getattr(array, "base", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
