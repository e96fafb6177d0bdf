"""Data sets of arrays: ``.npy``, or ``.npz`` with an array for each model input and optionally ``y``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

from .array_files import NpzFile, map_npy, release
from .dataset import Dataset, hash_arrays
from .feed import InputFeed, as_image, plan_feed
from .preprocess import Preprocess
from .sample import Sample

LABELS = "y"
ONLY_INPUT = "x"


# Bytes of a mapped array that may stay in memory.
_HELD_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class ArrayDataset(Dataset):
    """Rows of arrays [N, …], one array for each model input; ``labels`` is ``y`` [N] or [N, …] or None."""

    name: str
    arrays: Mapping[str, NDArray[Any]]
    feeds: Mapping[str, InputFeed]
    labels: NDArray[Any] | None = None
    label_offset: int = 0

    def __post_init__(self) -> None:
        steps = [feed.preprocess for feed in self.feeds.values() if feed.preprocess is not None]
        object.__setattr__(self, "preprocess", steps[0] if steps else None)
        object.__setattr__(self, "labelled", self.labels is not None)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def read(self, index: int) -> Sample:
        """Row ``index``; raises SampleError for a value the input cannot hold."""
        name = self.sample_name(index)
        inputs = {
            input_name: feed.feed(np.asarray(self.arrays[input_name][index]), name=name)
            for input_name, feed in self.feeds.items()
        }
        self._let_go(index)
        return Sample(name, inputs, self._target(index))

    def sample_name(self, index: int) -> str:
        """``val.npz[17]``."""
        return f"{self.name}[{index}]"

    def label(self, index: int) -> int | None:
        """``y[index]`` plus the offset where y is [N]; None otherwise."""
        if self.labels is None or self.labels.ndim != 1:
            return None
        return int(self.labels[index]) + self.label_offset

    def image(self, index: int) -> Image.Image | None:
        """The row as a picture, where it is fed as one and nothing else is fed."""
        [(name, feed), *others] = self.feeds.items()
        return as_image(self.arrays[name][index]) if feed.kind == "image" and not others else None

    def _target(self, index: int) -> object | None:
        if self.labels is None or self.labels.ndim == 1:
            return self.label(index)
        return np.array(self.labels[index])

    def _read_content_key(self, index: int) -> str:
        self._let_go(index)
        return hash_arrays(*(np.asarray(self.arrays[name][index]) for name in sorted(self.arrays)))

    def _let_go(self, index: int) -> None:
        """Every so many rows, give mapped pages back to the system, which would count them as this process's memory."""
        for array in self.arrays.values():
            if index % max(1, _HELD_BYTES // max(array[0].nbytes, 1)) == 0:
                release(array)

    def _target_key(self, index: int) -> str:
        target = self._target(index)
        return hash_arrays(target) if isinstance(target, np.ndarray) else repr(target)


def open_npy(
    path: Path, inputs: Sequence[TensorSpec], preprocess: Preprocess | None, label_offset: int
) -> ArrayDataset:
    """A ``.npy`` [N, …] for a model with one input; memory-mapped, without labels."""
    if len(inputs) != 1:
        raise DataError(
            f"is one array, but the model has {len(inputs)} inputs: {_list(inputs)}",
            where=str(path),
            fix="save an .npz with an array for each input",
        )
    array = map_npy(path)
    feed = _plan("the array", array.shape, array.dtype, inputs[0], preprocess, where=str(path))
    return ArrayDataset(path.name, {inputs[0].name: array}, {inputs[0].name: feed}, None, label_offset)


def open_npz(
    path: Path, inputs: Sequence[TensorSpec], preprocess: Preprocess | None, label_offset: int
) -> ArrayDataset:
    """A ``.npz`` with an array [N, …] for each input, named as it (or ``x`` for a single one), and ``y``.

    Headers are compared with the model before any data is read. Other arrays are ignored.

    Raises:
        DataError: an array is missing, does not fit its input, N differs, or the file is no .npz.
    """
    wanted = (*(spec.name for spec in inputs), ONLY_INPUT, LABELS)
    archive = NpzFile(path, wanted)
    sources = {spec.name: spec.name for spec in inputs if spec.name in archive.headers}
    if len(inputs) == 1 and not sources and ONLY_INPUT in archive.headers:
        sources = {inputs[0].name: ONLY_INPUT}
    missing = [spec.name for spec in inputs if spec.name not in sources]
    if missing:
        raise DataError(
            f"no array for model input {', '.join(missing)}; the file holds {', '.join(archive.names)}",
            where=str(path),
            fix=f"name the arrays {_list(inputs)}" + (f" (or {ONLY_INPUT})" if len(inputs) == 1 else ""),
        )
    feeds: dict[str, InputFeed] = {}
    for spec in inputs:
        header, array_name = archive.headers[sources[spec.name]], f"array {sources[spec.name]}"
        feeds[spec.name] = _plan(array_name, header.shape, header.dtype, spec, preprocess, where=str(path))
    # An input of the model may itself be called y; then it is no label.
    labels = LABELS if LABELS in archive.headers and LABELS not in sources.values() else None
    names = (*dict.fromkeys(sources.values()), *([labels] if labels else []))
    _check_lengths({name: archive.headers[name].shape for name in names}, where=str(path))
    data = archive.load(names)
    arrays = {spec.name: data[sources[spec.name]] for spec in inputs}
    y = None if labels is None else _as_labels(data[labels], where=str(path))
    return ArrayDataset(path.name, arrays, feeds, y, label_offset)


def _plan(
    array: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    spec: TensorSpec,
    preprocess: Preprocess | None,
    *,
    where: str,
) -> InputFeed:
    # Sizes of 0 within a sample are those of an input that has them, such as a cache that begins empty.
    if not shape or shape[0] == 0 or (0 in shape and 0 not in spec.shape):
        raise DataError(f"{array} is empty: its shape is {shape}", where=where, fix="save [N, …] with N > 0")
    try:
        return plan_feed(array, shape[1:], dtype, spec, preprocess)
    except DataError as error:
        raise DataError(error.what, where=where, fix=error.fix) from error


def _check_lengths(shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    lengths = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"arrays of different length: {counts} samples", where=where, fix="give each array one row per sample"
        )


def _as_labels(y: NDArray[Any], *, where: str) -> NDArray[Any]:
    """Class numbers [N] (from [N] or [N, 1]), or y [N, …] as it is: targets for a metric of one's own."""
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iu":
        y = y[:, 0]
    if y.ndim == 1 and y.dtype.kind not in "iu":
        raise DataError(f"labels y are {y.dtype}, not class numbers", where=where, fix="save y.astype('int64')")
    return y


def _list(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in inputs)
