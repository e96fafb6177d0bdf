"""Parts of a data set: chosen by index, drawn by seed, split in two; and what two sets share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

from fewbits.errors import DataError

from .dataset import Dataset
from .sample import Sample


class Subset(Dataset):
    """Some samples of ``base``, in the order of ``indices``; everything else is the base's.

    ``counts_as`` is how many samples the share of unreadable ones is of; without it as many as there are.
    """

    def __init__(self, base: Dataset, indices: Sequence[int], counts_as: int | None = None) -> None:
        self.base = base
        self.counts_as = counts_as
        self.indices = tuple(indices)
        self.name = base.name
        self.labelled = base.labelled
        self.label_offset = base.label_offset
        self.preprocess = base.preprocess
        self.categories = base.categories
        self.notes = base.notes
        self.concurrent = base.concurrent

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Sample:
        """The base's sample; raises what the base raises."""
        return self.base.read(self.indices[index])

    def sample_name(self, index: int) -> str:
        """The base's name for it."""
        return self.base.sample_name(self.indices[index])

    def label(self, index: int) -> int | None:
        """The base's label."""
        return self.base.label(self.indices[index])

    def image(self, index: int) -> Image.Image | None:
        """The base's picture; raises what the base raises."""
        return self.base.image(self.indices[index])

    def _read_content_key(self, index: int) -> str:
        return self.base.content_key(self.indices[index])

    def _target_key(self, index: int) -> str:
        return self.base._target_key(self.indices[index])


def subset(dataset: Dataset, indices: Sequence[int], counts_as: int | None = None) -> Dataset:
    """The samples ``indices`` in that order; raises IndexError for one outside ``0..len-1``."""
    size = len(dataset)
    for index in indices:
        if not 0 <= index < size:
            raise IndexError(f"{index} is not in 0..{size - 1}")
    return Subset(dataset, indices, counts_as)


def take(dataset: Dataset, n: int, seed: int) -> Dataset:
    """``n`` samples drawn by seed, in the data set's order; all of it where it has no more.

    A larger ``n`` with the same seed keeps every sample of a smaller one.

    Raises:
        DataError: n is below 1.
    """
    if n < 1:
        raise DataError(f"{n} samples are none", where=dataset.name, fix="ask for 1 or more")
    return dataset if n >= len(dataset) else Subset(dataset, sorted(_shuffled(len(dataset), seed)[:n]))


def split(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """(calibration with ``count`` samples, the rest): drawn by seed, disjoint, each in the set's order.

    Raises:
        DataError: one of the two would be empty.
    """
    size = len(dataset)
    if not 0 < count < size:
        raise DataError(
            f"cannot set {count} of {size} samples aside for calibration",
            where=dataset.name,
            fix=f"choose 1..{size - 1}, or give --calibration-data" if size > 1 else "give more data",
        )
    order = _shuffled(size, seed)
    return Subset(dataset, sorted(order[:count])), Subset(dataset, sorted(order[count:]))


def overlap(a: Dataset, b: Dataset) -> list[str]:
    """The names of ``b``'s samples that ``a`` holds too, compared by content, not by name."""
    keys = set(a.content_keys())
    return [
        b.sample_name(index)
        for index, key in enumerate(b.content_keys())
        if key in keys and not key.startswith("unreadable:")
    ]


def _shuffled(size: int, seed: int) -> list[int]:
    """0..size-1 in an order that depends on the seed alone: on no library's version or platform."""

    def rank(index: int) -> bytes:
        return hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()

    return sorted(range(size), key=rank)
