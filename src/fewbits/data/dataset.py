"""The one interface of every data set, with what follows from it: content keys and the fingerprint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import SampleError

from .sample import Category, Sample

if TYPE_CHECKING:
    from PIL import Image

    from .preprocess import Preprocess

_DIGEST_BYTES = 16


class Dataset(ABC):
    """Samples in a fixed order, read one at a time.

    Attributes:
        name: for people, e.g. the file's or folder's name.
        labelled: every sample has a target.
        label_offset: already added to every class number this data set gives out.
        preprocess: the steps in use; None where arrays are fed as they are. ``preprocess.guessed``
            tells that nobody named the steps and the caller should warn.
        categories: the classes, where the data set names them.
        notes: sentences the user should read, e.g. "28 of 128 images have no mask and are left out".
        concurrent: ``read`` may be called from several threads in any order at a fair cost.
        counts_as: how many samples the share of unreadable ones is of; None for as many as there are.
    """

    name: str
    labelled: bool
    label_offset: int = 0
    preprocess: Preprocess | None = None
    categories: tuple[Category, ...] = ()
    notes: tuple[str, ...] = ()
    concurrent: bool = True
    counts_as: int | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Sample ``index`` of ``0..len-1``.

        Raises:
            SampleError: this one cannot be read; the message names it.
            DataError: it does not fit the model, and so the others will not either.
        """

    @abstractmethod
    def sample_name(self, index: int) -> str:
        """The name of sample ``index`` without reading it: a relative path, or ``x[17]``."""

    @abstractmethod
    def label(self, index: int) -> int | None:
        """The class number (offset included) without decoding; None where the target is none."""

    def image(self, index: int) -> Image.Image | None:  # noqa: ARG002
        """The picture of sample ``index`` before any step; None where arrays are fed as they are.

        Raises:
            SampleError: this one cannot be read; the message names it.
        """
        return None

    @abstractmethod
    def _read_content_key(self, index: int) -> str:
        """The hash of the raw sample; raises SampleError where it cannot be read."""

    @abstractmethod
    def _target_key(self, index: int) -> str:
        """A text or hash of the target that changes when the target does."""

    def sample_names(self) -> list[str]:
        """The names of all samples, in order."""
        return [self.sample_name(index) for index in range(len(self))]

    @cached_property
    def _known_keys(self) -> dict[int, str]:
        return {}

    def content_key(self, index: int) -> str:
        """The hash of the raw sample (file bytes of an image, row bytes of arrays), kept once computed.

        A sample that cannot be read gets ``unreadable:NAME``, so that one bad file stops nothing here.
        """
        if index not in self._known_keys:
            try:
                key = self._read_content_key(index)
            except SampleError:
                key = f"unreadable:{self.sample_name(index)}"
            self._known_keys[index] = key
        return self._known_keys[index]

    def content_keys(self) -> list[str]:
        """The content keys of all samples, in order; equal keys are equal samples."""
        return [self.content_key(index) for index in range(len(self))]

    def recipe(self) -> str:
        """Everything besides the raw samples that decides what a model is fed and compared with."""
        steps = self.preprocess.to_toml() if self.preprocess else "as it is\n"
        return f"{steps}label_offset = {self.label_offset}\n"

    def fingerprint(self) -> str:
        """64 hex digits of content, order, targets, preprocessing and label offset.

        The same data gives the same fingerprint on every machine and under every path.
        """
        digest = hashlib.sha256(b"fewbits data 1\n")
        digest.update(f"{self.recipe()}{len(self)}\n".encode())
        for index in range(len(self)):
            digest.update(f"{self.content_key(index)} {self._target_key(index)}\n".encode())
        return digest.hexdigest()


def hash_file(path: Path, *, name: str) -> str:
    """32 hex digits of a file's bytes; raises SampleError naming ``name``."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, _new_digest).hexdigest()
    except OSError as error:
        raise SampleError(f"cannot be read: {error.strerror or error}", where=name) from error


def hash_arrays(*arrays: NDArray[Any]) -> str:
    """32 hex digits of arrays' dtypes, shapes and bytes, whatever their memory order."""
    digest = _new_digest()
    for array in arrays:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(np.ascontiguousarray(little).tobytes())
    return digest.hexdigest()


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)
