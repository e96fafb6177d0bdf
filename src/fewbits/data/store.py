"""Samples that several passes read: decoded once as far as they fit into memory, and anew beyond that."""

from __future__ import annotations

from collections.abc import Iterator

from .dataset import Dataset
from .sample import BadSamples, Sample
from .streaming import numbered

_MOST_BYTES = 512 << 20


class Store:
    """A data set whose first samples stay in memory, 512 MiB of them; ``bad`` lists those that cannot be read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.bad = BadSamples()
        self._kept: dict[int, Sample | None] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Sample]]:
        """The readable samples at positions start..stop-1, each with its position.

        Raises:
            DataError: more than 1% of the data set is unreadable, or a sample does not fit the model.
        """
        position = start
        while position < stop and position in self._kept:
            sample = self._kept[position]
            if sample is not None:
                yield position, sample
            position += 1
        for index, sample in numbered(self.dataset, range(position, stop), on_bad=self.bad):
            # What lies between was unreadable.
            self._keep(range(position, index), None)
            self._keep(range(index, index + 1), sample)
            position = index + 1
            yield index, sample

    def _keep(self, positions: range, sample: Sample | None) -> None:
        size = sum(array.nbytes for array in sample.inputs.values()) if sample else 0
        if self._bytes + size <= _MOST_BYTES:
            self._bytes += size
            self._kept.update(dict.fromkeys(positions, sample))
