"""The first samples are kept while the stream passes, within bounds of number and memory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest

from fewbits.data import Sample, first, keeping


class Source:
    """Samples of ``size`` bytes, in one or two inputs, that knows how many were taken and whether it was closed."""

    def __init__(self, count: int, size: int = 40, inputs: int = 1) -> None:
        self.count, self.taken, self.closed = count, 0, False
        self._arrays = {f"x{i}": np.zeros(size // inputs, np.uint8) for i in range(inputs)}

    def __iter__(self) -> Iterator[Sample]:
        try:
            for index in range(self.count):
                self.taken += 1
                yield Sample(f"s{index}", self._arrays)
        finally:
            self.closed = True


@pytest.fixture
def most_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 bytes may be kept."""
    monkeypatch.setattr(importlib.import_module("fewbits.data.keeping"), "_MOST_BYTES", 1000)


def names(samples: list[Sample]) -> list[str]:
    return [sample.name for sample in samples]


@pytest.mark.parametrize("most", [0, 1, 3, 8, 20])
def test_the_stream_passes_unchanged_and_the_first_are_kept(most: int) -> None:
    given = list(Source(8))
    kept: list[Sample] = []
    passed = list(keeping(iter(given), kept, most))
    assert all(a is b for a, b in zip(passed, given, strict=True))
    assert names(kept) == names(given)[:most]
    assert all(a is b for a, b in zip(kept, given, strict=False))


def test_nothing_is_taken_before_it_is_asked_for() -> None:
    source = Source(8)
    passing = keeping(source, [], 4)
    assert source.taken == 0
    next(passing)
    assert source.taken == 1
    passing.close()


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize(("size", "expected"), [(100, 10), (150, 6), (250, 4), (400, 4), (5000, 4)])
@pytest.mark.usefixtures("most_bytes")
def test_bytes_are_bounded_but_four_samples_are_kept(size: int, expected: int, inputs: int) -> None:
    """All inputs of a sample count. Trials need a few samples however large they are."""
    source = Source(30, size, inputs)
    kept: list[Sample] = []
    assert sum(1 for _ in keeping(source, kept, 20)) == 30
    assert names(kept) == [f"s{i}" for i in range(expected)]
    again = Source(30, size, inputs)
    assert names(first(again, 20)) == names(kept)
    assert again.taken == expected + 1


@pytest.mark.usefixtures("most_bytes")
def test_a_second_pass_over_a_full_list_keeps_nothing_more() -> None:
    kept: list[Sample] = []
    assert sum(1 for _ in keeping(Source(9), kept, 5)) == 9
    assert sum(1 for _ in keeping(Source(9), kept, 5)) == 9
    assert sum(1 for _ in keeping(Source(9), kept, 0)) == 9
    assert len(kept) == 5


@pytest.mark.parametrize(("most", "there"), [(1, 9), (5, 9), (5, 3), (5, 0)])
def test_first_reads_no_further_than_it_keeps(most: int, there: int) -> None:
    source = Source(there)
    assert names(first(source, most)) == [f"s{i}" for i in range(min(most, there))]
    assert source.taken == min(most, there)
    assert source.closed
