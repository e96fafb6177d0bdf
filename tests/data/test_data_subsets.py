from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits.data import Dataset, open_dataset, overlap, split, subset, take
from fewbits.data.array_dataset import ArrayDataset
from fewbits.data.feed import plan_feed
from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

SPEC = TensorSpec("data", (None, 1), np.dtype(np.float32))


def numbers(count: int) -> Dataset:
    x = np.arange(count, dtype=np.float32)[:, None]
    return ArrayDataset("set", {"data": x}, {"data": plan_feed("x", (1,), x.dtype, SPEC, None)}, np.arange(count))


@given(st.integers(2, 300), st.data(), st.integers(-5, 2**70))
def test_split_is_a_partition_that_depends_on_the_seed_alone(size: int, draw: st.DataObject, seed: int) -> None:
    count = draw.draw(st.integers(1, size - 1))
    data = numbers(size)
    calibration, rest = split(data, count, seed)
    first = [calibration.label(i) for i in range(len(calibration))]
    second = [rest.label(i) for i in range(len(rest))]
    assert len(first) == count and sorted([*first, *second]) == list(range(size))
    assert first == sorted(first) and second == sorted(second)
    assert overlap(calibration, rest) == []
    assert split(data, count, seed)[0].sample_names() == calibration.sample_names()


def test_the_split_is_the_same_on_every_machine_and_version() -> None:
    # Written down from the definition: indices ordered by blake2b of "seed:index".
    calibration, _ = split(numbers(20), 5, seed=0)
    assert [calibration.label(i) for i in range(5)] == EXPECTED
    assert [split(numbers(20), 5, seed=1)[0].label(i) for i in range(5)] != EXPECTED


EXPECTED = [3, 7, 9, 11, 18]


def test_take_grows_with_n() -> None:
    data = numbers(50)
    few, more = take(data, 5, seed=3), take(data, 20, seed=3)
    assert set(few.sample_names()) < set(more.sample_names())
    assert take(data, 50, seed=3) is data and take(data, 99, seed=3) is data
    with pytest.raises(DataError, match="0 samples"):
        take(data, 0, seed=3)


@pytest.mark.parametrize("count", [0, 10, 11, -1])
def test_no_part_may_be_empty(count: int) -> None:
    with pytest.raises(DataError, match=r"of 10 samples aside.*1\.\.9.*--calibration-data"):
        split(numbers(10), count, seed=0)
    with pytest.raises(DataError, match="give more data"):
        split(numbers(1), 1, seed=0)


def test_a_subset_keeps_what_the_base_knows() -> None:
    data = numbers(10)
    part = subset(subset(data, [9, 3, 5]), [2, 0])
    assert (len(part), part.name, part.labelled) == (2, "set", True)
    assert part.sample_names() == ["set[5]", "set[9]"] and part.label(1) == 9
    assert part.read(0).inputs["data"].item() == 5 and part.read(0).target == 5
    assert part.content_keys() == [data.content_key(5), data.content_key(9)]
    assert part.fingerprint() == subset(data, [5, 9]).fingerprint() != subset(data, [9, 5]).fingerprint()
    assert subset(data, range(10)).fingerprint() == data.fingerprint()
    for wrong in (10, -1):
        with pytest.raises(IndexError):
            subset(data, [wrong])


def test_split_of_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(6, dtype=np.float32)[:, None], y=np.arange(6))
    data = open_dataset(tmp_path / "a.npz", inputs=[SPEC], label_offset=1)
    calibration, rest = split(data, 2, seed=1)
    assert calibration.label_offset == rest.label_offset == 1
    assert sorted(d.read(i).target for d in (calibration, rest) for i in range(len(d))) == list(range(1, 7))
