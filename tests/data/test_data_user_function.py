from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewbits.data import Dataset, Preprocess, open_dataset, stream, user_dataset
from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

SPEC = TensorSpec("data", (None, 3, 4, 4), np.dtype(np.float32))

Open = Callable[..., Dataset]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Write the code as a module where the command is run, and open its function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])

    def opened(code: str, function: str = "samples", **options: object) -> Dataset:
        name = f"user_module_{abs(hash((code, str(tmp_path))))}"
        (tmp_path / f"{name}.py").write_text(f"import numpy as np\n{code}")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return open_dataset(f"{name}:{function}", inputs=[SPEC], **options)  # type: ignore[arg-type]

    return opened


GENERATOR = """
calls = 0
def samples():
    global calls
    calls += 1
    for i in range(7):
        yield {"data": np.full((1, 3, 4, 4), i, np.float32), "more": 1}, np.int64(i)
"""


def test_a_generator_is_counted_once_and_replayed(opened: Open) -> None:
    data = opened(GENERATOR, label_offset=1)
    assert len(data) == 7 and data.labelled and not data.concurrent
    module = sys.modules[data.name.split(":")[0]]
    before = module.calls
    assert [s.target for s in stream(data, workers=4)] == list(range(1, 8))
    assert [s.inputs["data"].max() for s in stream(data)] == list(range(7))
    assert module.calls <= before + 2  # two passes, each read forward
    assert data.label(3) == 4 and data.sample_name(3).endswith(":samples[3]")
    assert data.read(5).inputs["data"].shape == data.read(0).inputs["data"].shape == (1, 3, 4, 4)
    assert data.fingerprint() == opened(GENERATOR, label_offset=1).fingerprint()


def test_a_sequence_is_indexed(opened: Open) -> None:
    code = """
def samples():
    return [({"data": np.full((3, 4, 4), i, np.float64)}, None) for i in range(3)]
"""
    data = opened(code)
    assert len(data) == 3 and not data.labelled and data.concurrent and data.label(1) is None
    assert data.read(2).inputs["data"].dtype == np.float32
    assert len(set(data.content_keys())) == 3


def test_uint8_images_go_through_the_preprocessing(opened: Open) -> None:
    code = """
def samples():
    yield {"data": np.full((8, 8, 3), 10, np.uint8)}, 1
"""
    data = opened(code, preprocess=Preprocess(resize=4, crop=4, mean=(4.0,)))
    assert data.preprocess is not None
    np.testing.assert_array_equal(data.read(0).inputs["data"], np.full((1, 3, 4, 4), 6))


def test_other_targets_are_handed_on(opened: Open) -> None:
    code = """
def samples():
    return [({"data": np.zeros((3, 4, 4), np.float32)}, t) for t in (np.eye(2), "text", {"a": 1})]
"""
    data = opened(code)
    assert data.read(1).target == "text" and data.read(2).target == {"a": 1}
    np.testing.assert_array_equal(data.read(0).target, np.eye(2))
    assert data.fingerprint() == opened(code).fingerprint()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('at import')", "cannot be imported: RuntimeError: at import"),
        ("other = 1", "has no function samples"),
        ("samples = 3", "has no function samples"),
        ("def samples(n): return []", "raised TypeError.*without arguments"),
        ("def samples(): return 3", "returned int, which cannot be iterated"),
        ("def samples(): return []", "yields no samples"),
        ("def samples(): yield from ()", "yields no samples"),
        ("def samples():\n yield {'data': 1}", r"samples\[0\]: is dict, not \(inputs, target\)"),
        ("def samples():\n yield {'x': 1}, 0", "no array for model input data, only x"),
        ("def samples():\n yield {'data': ['a']}, 0", "not numbers"),
        ("def samples():\n yield {'data': np.zeros((2, 3, 4, 4))}, 0", "N = 2 - yield one sample at a time"),
        (
            "def samples():\n yield {'data': np.zeros((3, 4, 5))}, 0",
            r"\[N,3,4,4\], array data is float64 \[N,3,4,5\]",
        ),
        (
            "def samples():\n yield {'data': np.zeros((3, 4, 4))}, 0\n 1 / 0",
            r"\[1\]: raised ZeroDivisionError",
        ),
    ],
)
def test_a_wrong_function_is_explained(opened: Open, code: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        opened(code)


def test_a_missing_module_is_explained() -> None:
    with pytest.raises(DataError, match="no_such_module_here: cannot be imported"):
        open_dataset("no_such_module_here:samples", inputs=[SPEC])


def test_an_endless_generator_ends(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_dataset, "MAX_SAMPLES", 20)
    with pytest.raises(DataError, match="more than 20 samples"):
        opened("def samples():\n while True: yield {'data': np.zeros((3, 4, 4))}, 0")


def test_other_data_on_the_second_call_is_an_error(opened: Open) -> None:
    data = opened("def samples():\n yield {'data': np.random.default_rng().random((3, 4, 4))}, 0")
    with pytest.raises(DataError, match=r"other data when it is called again.*seed"):
        data.read(0)
        data.read(0)


def test_fewer_samples_on_the_second_call_are_an_error(opened: Open) -> None:
    code = "items = iter([({'data': np.zeros((3, 4, 4))}, 0)] * 3)\ndef samples(): return items"
    with pytest.raises(DataError, match="fewer samples"):
        opened(code).read(1)


def test_a_sequence_that_raises_loses_one_sample(opened: Open) -> None:
    code = """
class Samples:
    def __len__(self): return 3
    def __getitem__(self, i):
        if i == 1: raise OSError("no such file")
        return {"data": np.zeros((3, 4, 4), np.float32)}, i
samples = Samples
"""
    data = opened(code)
    with pytest.raises(SampleError, match=r"samples\[1\]: raised OSError: no such file"):
        data.read(1)
    assert data.read(2).target == 2 and data.content_key(1).startswith("unreadable:")
    assert data.label(1) is None and len(data.fingerprint()) == 64
