"""The ``.bin`` of an IR: one run of bytes that the XML points into, mapped and never copied where it is FP32."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.frontends.legacy_ir.records import Blob

# By the precision an IR writes; half precision is widened, for the rest of fewbits takes FP32.
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}
# Blobs may share bytes, but a file that hands out many times its own size is made to fill the memory.
_MOST_SHARED = 8


class Weights:
    """Arrays out of a ``.bin``; ``path`` may be absent, as long as nobody asks for a blob."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._left = 0
        try:
            if path.stat().st_size:
                self._bytes = np.memmap(path, np.uint8, "r")
        except OSError:
            return
        self._left = _MOST_SHARED * self._bytes.size

    def array(self, blob: Blob, precision: str, where: str) -> NDArray[Any]:
        """The numbers of a blob, one axis; floats as FP32.

        Args:
            precision: what it is stored in where the blob itself does not say.
            where: the layer, for the errors.

        Raises:
            ModelError: no such bytes, or a precision that is none of the above.
        """
        stored = blob.precision or precision
        if stored not in DTYPES:
            raise ModelError(f"weights of precision {stored} cannot be read", where=where, fix="convert it in FP32")
        if not self._path.is_file():
            raise ModelError("its weights are missing", where=where, fix=f"put {self._path.name} beside the .xml")
        dtype = DTYPES[stored]
        if blob.offset + blob.size > self._bytes.size or blob.size % dtype.itemsize:
            what = f"{blob.size} bytes of {stored} at {blob.offset} do not lie in {self._path.name}"
            raise ModelError(f"{what} ({self._bytes.size} bytes)", where=where, fix="give the .bin made with this .xml")
        self._left -= blob.size
        if self._left < 0:
            what = f"its blobs take more than {_MOST_SHARED} times the bytes of {self._path.name}"
            raise ModelError(what, where=where, fix="convert the original model again")
        found: NDArray[Any] = np.frombuffer(self._bytes, dtype, blob.size // dtype.itemsize, blob.offset)
        return found.astype(np.float32) if stored == "FP16" else found

    def shaped(self, blob: Blob, precision: str, shape: tuple[int, ...], where: str) -> NDArray[Any]:
        """The same in a shape.

        Raises:
            ModelError: as above, or another count of numbers.
        """
        found = self.array(blob, precision, where)
        if found.size != math.prod(shape):
            wanted = " x ".join(map(str, shape)) or "one number"
            raise ModelError(f"its weights hold {found.size} numbers, not {wanted}", where=where, fix="convert again")
        return found.reshape(shape)
