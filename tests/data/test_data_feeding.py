"""What a model input is fed: scalars, inputs without a batch axis, sizes of zero, every type of number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fewbits.data import Dataset, open_dataset
from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

COUNT = 3
RNG = np.random.default_rng(0)


def spec(*shape: int | None, dtype: Any = np.float32, name: str = "x") -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(dtype))


def rows(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Whole numbers below 4, which every type of number holds, one array of this shape for each sample."""
    return RNG.integers(0, 4, (COUNT, *shape)).astype(dtype)


@pytest.fixture(params=["npz", "npz, packed", "npy", "list", "generator"])
def door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open the same samples through each door."""

    def opened(array: np.ndarray, wants: TensorSpec) -> Dataset:
        np.savez(tmp_path / "set.npz", x=array)
        np.savez_compressed(tmp_path / "packed.npz", x=array)
        np.save(tmp_path / "set.npy", array)
        module = f"fed_{abs(hash((request.node.name, tmp_path)))}"
        (tmp_path / f"{module}.py").write_text(
            "import numpy as np\nfrom pathlib import Path\n"
            "X = np.load(Path(__file__).with_name('set.npy'))\n"
            "def listed(): return [({'x': np.asarray(row)}, None) for row in X]\n"
            "def generated():\n    for row in X:\n        yield {'x': np.asarray(row)}, None\n",
            encoding="utf-8",
        )
        monkeypatch.syspath_prepend(tmp_path)
        place: str | Path = {
            "npz": tmp_path / "set.npz",
            "npz, packed": tmp_path / "packed.npz",
            "npy": tmp_path / "set.npy",
            "list": f"{module}:listed",
            "generator": f"{module}:generated",
        }[request.param]
        return open_dataset(place, inputs=[wants])

    return opened


@pytest.mark.parametrize(
    ("wants", "sample", "fed"),
    [
        (spec(), (), ()),  # a scalar
        (spec(1), (), (1,)),  # a batch of scalars
        (spec(None), (), (1,)),
        (spec(16), (16,), (16,)),  # no batch
        (spec(3, 12, 12), (3, 12, 12), (3, 12, 12)),
        (spec(4, None), (4, 7), (4, 7)),
        (spec(8, 3, 4, 4), (8, 3, 4, 4), (8, 3, 4, 4)),  # a batch of 8 that counts as one sample
        (spec(1, 16), (16,), (1, 16)),
        (spec(None, 16), (1, 16), (1, 16)),  # rows bring their batch axis
        (spec(1, 2, 0, 4), (2, 0, 4), (1, 2, 0, 4)),  # a cache that begins empty
    ],
)
def test_a_sample_becomes_what_the_input_takes(
    door: Any, wants: TensorSpec, sample: tuple[int, ...], fed: tuple[int, ...]
) -> None:
    array = rows(*sample)
    data = door(array, wants)
    assert len(data) == COUNT
    for index in range(COUNT):
        got = data.read(index).inputs["x"]
        assert got.shape == fed
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got.reshape(sample), array[index])
    assert len({data.content_key(index) for index in range(COUNT)}) == len({row.tobytes() for row in array})
    assert data.image(0) is None


@pytest.mark.parametrize(
    "dtype", ["int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool", "float16", "float32", "float64"]
)
def test_every_type_of_number_is_fed_in_the_inputs_type(door: Any, dtype: str) -> None:
    array = rows(2, 5, dtype=dtype)
    got = door(array, spec(1, 2, 5, dtype=dtype)).read(1).inputs["x"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got[0], array[1])


def test_floats_become_bfloat16(door: Any) -> None:
    array = rows(5)
    got = door(array, spec(1, 5, dtype=ml_dtypes.bfloat16)).read(1).inputs["x"]
    assert got.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(got[0].astype(np.float32), array[1])


@pytest.mark.parametrize(
    ("wants", "sample", "says"),
    [
        (spec(10, 3, 4, 4), (3, 4, 4), r"wants float32 \[10,3,4,4\].*--input-shape x:1,3,4,4.*\[N,10,3,4,4\]"),
        (spec(3, 12, 12), (12, 12), r"wants float32 \[3,12,12\].*\[N,12,12\]"),
        (spec(), (2,), r"wants float32 \[\], .*\[N,2\]"),
        (spec(1, 16), (), r"wants float32 \[N,16\], .*\[N\]"),
        (spec(2, 16), (3, 16), r"wants float32 \[2,16\], .*\[N,3,16\]"),
    ],
)
def test_what_does_not_fit_says_both_shapes_and_what_to_do(
    door: Any, wants: TensorSpec, sample: tuple[int, ...], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        door(rows(*sample), wants).read(0)


def test_one_input_with_a_batch_and_one_without(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    image, gain, table = rows(3, 4, 4), rows(), rows(5, 2)
    np.savez(path, image=image, gain=gain, table=table)
    inputs = [spec(None, 3, 4, 4, name="image"), spec(name="gain"), spec(5, 2, name="table")]
    got = open_dataset(path, inputs=inputs).read(2).inputs
    np.testing.assert_array_equal(got["image"], image[2:])
    np.testing.assert_array_equal(got["gain"], gain[2])
    np.testing.assert_array_equal(got["table"], table[2])
