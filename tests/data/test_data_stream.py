from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fewbits.data import BadSamples, Dataset, Sample, stream
from fewbits.errors import DataError, SampleError


class Counting(Dataset):
    """Samples that know how many were read, some of them bad."""

    name = "counting"
    labelled = True

    def __init__(self, size: int, *, bad: tuple[int, ...] = (), wrong: int | None = None) -> None:
        self.size, self.bad, self.wrong = size, bad, wrong
        self.started: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Sample:
        self.started.append(index)
        self.threads.add(threading.current_thread().name)
        time.sleep(0.0005 * (index * 7 % 5))  # later samples are often done first
        if index in self.bad:
            raise SampleError("is cut off", where=self.sample_name(index))
        if index == self.wrong:
            raise DataError("does not fit")
        return Sample(self.sample_name(index), {"data": np.array([index])}, index)

    def sample_name(self, index: int) -> str:
        return f"{index}.jpg"

    def label(self, index: int) -> int | None:
        return index

    def _read_content_key(self, index: int) -> str:
        return str(index)

    def _target_key(self, index: int) -> str:
        return str(index)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fewbits-read")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_samples_come_in_order_and_are_read_once(workers: int) -> None:
    data = Counting(60)
    assert [sample.target for sample in stream(data, workers=workers)] == list(range(60))
    assert sorted(data.started) == list(range(60)) and len(data.threads) <= workers
    assert not readers()


@pytest.mark.parametrize("workers", [1, 3])
def test_the_look_ahead_is_bounded(workers: int) -> None:
    data = Counting(1000)
    samples = stream(data, workers=workers)
    for taken in range(1, 6):
        next(samples)
        time.sleep(0.03)  # time enough for greedy workers to run ahead
        assert len(data.started) <= taken + 2 * workers
    samples.close()  # type: ignore[attr-defined]


def test_nothing_is_read_before_the_first_sample_is_wanted() -> None:
    data = Counting(10)
    stream(data)
    assert data.started == [] and not readers()


def test_closing_stops_the_workers() -> None:
    data = Counting(10_000)
    samples = stream(data, workers=2)
    next(samples)
    began = time.perf_counter()
    samples.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - began < 1 and not readers() and len(data.started) <= 5


def test_an_error_of_the_consumer_stops_the_workers() -> None:
    data = Counting(1000)
    with pytest.raises(ZeroDivisionError):
        for sample in stream(data):
            assert sample.target == 0
            raise ZeroDivisionError
    assert len(data.started) <= 5


def test_an_error_that_is_no_bad_sample_is_raised() -> None:
    samples = stream(Counting(50, wrong=3))
    assert [next(samples).target for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="does not fit"):
        next(samples)
    assert not readers()


def test_one_in_a_hundred_is_tolerated_and_logged() -> None:
    log = BadSamples()
    data = Counting(200, bad=(0, 199))
    for _ in range(2):  # a second pass does not list them twice
        assert [s.target for s in stream(data, on_bad=log)] == list(range(1, 199))
    assert [(entry.name, entry.reason) for entry in log.items] == [
        ("0.jpg", "0.jpg: is cut off"),
        ("199.jpg", "199.jpg: is cut off"),
    ]
    assert len(list(stream(Counting(100, bad=(50,))))) == 99


@pytest.mark.parametrize(("size", "bad"), [(50, (30,)), (99, (98,)), (199, (3, 60)), (200, (3, 60, 61))])
def test_more_than_one_percent_is_an_error_as_soon_as_it_is_certain(size: int, bad: tuple[int, ...]) -> None:
    log = BadSamples()
    data = Counting(size, bad=bad)
    with pytest.raises(DataError) as caught:
        list(stream(data, on_bad=log))
    message = str(caught.value)
    assert not isinstance(caught.value, SampleError)
    assert f"{len(bad)} of {size}" in message and all(f"{index}.jpg" in message for index in bad)
    assert len(log) == len(bad) and max(data.started) <= bad[-1] + 4 and not readers()


def test_a_set_that_needs_one_reader_gets_one() -> None:
    data = Counting(20)
    data.concurrent = False
    assert len(list(stream(data, workers=4))) == 20 and len(data.threads) == 1
    assert data.started == list(range(20))


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers"):
        stream(Counting(3), workers=0)
