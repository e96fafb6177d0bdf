"""The data set behind ``module:function``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

from .dataset import Dataset, hash_arrays
from .feed import InputFeed, as_image, plan_feed
from .preprocess import Preprocess
from .sample import Sample
from .shapes import describe_input, has_batch
from .user_function import MAX_SAMPLES, Source, load_source

_ITEM_ADVICE = "yield ({input name: array}, target), with None as target where there is none"


@dataclass(frozen=True)
class _Seen:
    """What the first pass over an iterable keeps of each sample: some hundred bytes."""

    content_key: str
    target_key: str
    label: int | None


class UserDataset(Dataset):
    """Samples a Python function yields.

    An iterable is walked through once to count its samples; only hashes and labels are kept, and a
    later pass that yields something else is an error, because candidates could not be compared.

    Raises:
        DataError: the function yields nothing, too much, or what does not fit the model.
    """

    def __init__(
        self,
        reference: str,
        source: Source,
        inputs: Sequence[TensorSpec],
        preprocess: Preprocess | None,
        label_offset: int,
    ) -> None:
        self.name = reference
        self.label_offset = label_offset
        self.concurrent = not source.replays  # several readers would send an iterable back and forth
        self._source = source
        self._inputs = tuple(inputs)
        self._steps = preprocess
        self._seen = None if source.length is not None else self._walk()
        self._length = source.length if self._seen is None else len(self._seen)
        if not self._length:
            raise DataError("yields no samples", where=reference, fix=_ITEM_ADVICE)
        rows, target = self._rows(0)
        self.labelled = target is not None
        plans = [self._plan(spec, row, 0) for spec, row in rows.items()]
        self.preprocess = next((plan.preprocess for plan in plans if plan.preprocess is not None), None)
        # Labels and hashes of a sequence are asked for one after the other, for the same sample.
        self._summary = lru_cache(maxsize=1)(self._summarize)

    def __len__(self) -> int:
        return self._length or 0

    def read(self, index: int) -> Sample:
        """Sample ``index``; arrays may have a batch axis of 1 or none.

        Raises:
            SampleError: a sequence raises on this index, or a value does not fit the input's type.
            DataError: it is not ``({name: array}, target)``, does not fit the model, or differs from
                the first pass.
        """
        name = self.sample_name(index)
        rows, target = self._rows(index)
        if self._seen is not None and self._seen[index].content_key != hash_arrays(*_by_name(rows)):
            raise DataError(
                "the function yields other data when it is called again",
                where=name,
                fix="fix its random seed",
            )
        inputs = {spec.name: self._plan(spec, row, index).feed(row, name=name) for spec, row in rows.items()}
        label = _class_number(target)
        return Sample(name, inputs, target if label is None else label + self.label_offset)

    def sample_name(self, index: int) -> str:
        """``module:function[17]``."""
        return f"{self.name}[{index}]"

    def label(self, index: int) -> int | None:
        """The class number plus the offset; a sequence is read for it."""
        try:
            label = self._known(index).label
        except SampleError:  # one bad sample is left out when it is read, not here
            return None
        return None if label is None else label + self.label_offset

    def image(self, index: int) -> Image.Image | None:
        """The array as a picture, where it is fed as one and nothing else is fed."""
        [(spec, row), *others] = self._rows(index)[0].items()
        return as_image(row) if not others and self._plan(spec, row, index).kind == "image" else None

    def _read_content_key(self, index: int) -> str:
        return self._known(index).content_key

    def _target_key(self, index: int) -> str:
        try:
            return self._known(index).target_key
        except SampleError:
            return "unreadable"

    def _known(self, index: int) -> _Seen:
        return self._summary(index) if self._seen is None else self._seen[index]

    def _summarize(self, index: int) -> _Seen:
        return _see(*self._rows(index))

    def _plan(self, spec: TensorSpec, row: NDArray[Any], index: int) -> InputFeed:
        try:
            return plan_feed(f"array {spec.name}", row.shape, row.dtype, spec, self._steps)
        except DataError as error:
            raise DataError(error.what, where=self.sample_name(index), fix=error.fix) from error

    def _walk(self) -> tuple[_Seen, ...]:
        seen: list[_Seen] = []
        while True:
            try:
                item = self._source.get(len(seen))
            except IndexError:
                return tuple(seen)
            seen.append(_see(*self._parse(item, len(seen))))
            if len(seen) > MAX_SAMPLES:
                raise DataError(
                    f"yields more than {MAX_SAMPLES} samples",
                    where=self.name,
                    fix="end it, or return a sequence with len() and [index]",
                )

    def _rows(self, index: int) -> tuple[dict[TensorSpec, NDArray[Any]], object]:
        try:
            item = self._source.get(index)
        except IndexError:
            raise DataError(
                "the function yields fewer samples when it is called again",
                where=self.sample_name(index),
                fix="return a new iterator at each call",
            ) from None
        return self._parse(item, index)

    def _parse(self, item: object, index: int) -> tuple[dict[TensorSpec, NDArray[Any]], object]:
        name = self.sample_name(index)
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], Mapping):
            raise DataError(f"is {type(item).__name__}, not (inputs, target)", where=name, fix=_ITEM_ADVICE)
        arrays, target = item
        missing = [spec.name for spec in self._inputs if spec.name not in arrays]
        if missing:
            given = ", ".join(map(str, arrays))
            raise DataError(f"no array for model input {missing[0]}, only {given}", where=name, fix=_ITEM_ADVICE)
        return {spec: _row(np.asarray(arrays[spec.name]), spec, name) for spec in self._inputs}, target


def open_user(
    reference: str, inputs: Sequence[TensorSpec], preprocess: Preprocess | None, label_offset: int
) -> UserDataset:
    """Import ``module:function``, which runs the user's code; raises DataError where that fails."""
    return UserDataset(reference, load_source(reference), inputs, preprocess, label_offset)


def _row(array: NDArray[Any], spec: TensorSpec, name: str) -> NDArray[Any]:
    """The sample without its batch axis, if it has one of 1; as it is where it is the whole of an input without."""
    if array.dtype.kind not in "biuf" and "float" not in array.dtype.name:
        raise DataError(f"{spec.name} holds {array.dtype}, not numbers", where=name)
    if array.ndim != len(spec.shape) or not has_batch(spec.shape):
        return array
    if array.shape[0] != 1:
        sizes = [str(size) for size in array.shape]
        raise DataError(
            f"{describe_input(spec)}, {spec.name} is [{','.join(sizes)}] with N = {sizes[0]}",
            where=name,
            fix="yield one sample at a time",
        )
    row: NDArray[Any] = array[0]
    return row


def _see(rows: Mapping[TensorSpec, NDArray[Any]], target: object) -> _Seen:
    return _Seen(hash_arrays(*_by_name(rows)), _target_key(target), _class_number(target))


def _by_name(rows: Mapping[TensorSpec, NDArray[Any]]) -> list[NDArray[Any]]:
    return [row for _, row in sorted(rows.items(), key=lambda item: item[0].name)]


def _class_number(target: object) -> int | None:
    if isinstance(target, np.ndarray) and target.size == 1 and target.dtype.kind in "iu":
        return int(target.item())
    return int(target) if isinstance(target, int | np.integer) and not isinstance(target, bool) else None


def _target_key(target: object) -> str:
    if isinstance(target, np.ndarray) and target.dtype.kind in "biuf":
        return hash_arrays(target)
    # Other objects may print their address, which is another one in each run.
    return repr(target) if isinstance(target, int | float | str | None) else type(target).__name__
