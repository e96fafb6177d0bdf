"""The first samples of a stream, kept while it passes, so that nothing has to be decoded twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .sample import Sample

# Samples in megapixels would fill the memory long before there are enough of them.
_MOST_BYTES = 128 << 20
_LEAST = 4


def keeping(samples: Iterable[Sample], kept: list[Sample], most: int) -> Iterator[Sample]:
    """Hand all samples through and keep up to ``most`` of the first ones, of 128 MiB in all but no fewer than 4."""
    size = 0
    for sample in samples:
        size += sum(array.nbytes for array in sample.inputs.values())
        if len(kept) < most and (size <= _MOST_BYTES or len(kept) < _LEAST):
            kept.append(sample)
        yield sample


def first(samples: Iterable[Sample], most: int) -> list[Sample]:
    """Only the samples ``keeping`` would keep; the rest is not read."""
    kept: list[Sample] = []
    passing = keeping(samples, kept, most)
    for count, _ in enumerate(passing, 1):
        if len(kept) < count or count == most:
            break
    return kept
