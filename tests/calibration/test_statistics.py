"""Means and squares per channel: NumPy's on the grid, the same for any order, split and repetition of the samples."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.calibration.collect import collect
from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import ENGINES, Engine, Options
from fewbits.errors import InputError
from models import inner_values, network

fast_engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
ONNXRUNTIME = ENGINES["onnxruntime"]


def wide() -> ir.Model:
    """Values large enough to be sampled on a grid, channels far apart; whole numbers, so that sums are exact."""
    rng = np.random.default_rng(0)
    return network(
        """g (float[1,3,40,40] x) => (float[1,4,19,19] y) {
             [conv] c = Conv<pads=[1,1,1,1]>(x, w, b)  [relu] r = Relu(c)
             [down] d = Conv<strides=[2,2]>(r, v)  [clip] k = Clip(d, low, high)
             [pool] p = MaxPool<kernel_shape=[1,1]>(k)
             [out] y = Neg(p) }""",
        w=rng.integers(-3, 4, (5, 3, 3, 3)).astype(np.float32),
        b=np.array([-90, -20, 0, 20, 400], np.float32),
        v=rng.integers(-2, 3, (4, 5, 3, 3)).astype(np.float32),
        low=np.float32(0),
        high=np.float32(4000),
    )


def drawn(count: int, start: int = 0) -> list[Sample]:
    rngs = [np.random.default_rng(i) for i in range(start, start + count)]
    return [
        Sample(f"s{i}", {"x": rng.integers(-5, 6, (1, 3, 40, 40)).astype(np.float32)}) for i, rng in enumerate(rngs)
    ]


def collected(samples: list[Sample], engine: Engine = ONNXRUNTIME, expected: int = 1000) -> Statistics:
    """With so many samples expected, few numbers are taken of each."""
    return collect(wide(), ["x", "c", "r", "d", "p"], samples, expected, engine, Options(threads=2))


def grids(array: np.ndarray, sampled: int) -> Iterator[np.ndarray]:
    """Every centred grid with odd steps that takes ``sampled`` numbers of each sample [1, C, H, W]."""
    channels, *sizes = array.shape[1:]
    for steps in itertools.product(*(range(1, size + 1, 2) for size in sizes)):
        counts = [math.ceil(size / step) for size, step in zip(sizes, steps, strict=True)]
        if channels * math.prod(counts) == sampled:
            first = [(n - 1 - (k - 1) * step) // 2 for n, k, step in zip(sizes, counts, steps, strict=True)]
            yield array[:, :, first[0] :: steps[0], first[1] :: steps[1]]


@fast_engines
def test_moments_are_numpys_over_the_positions_of_the_histogram(engine: Engine) -> None:
    samples = drawn(19)
    found = collected(samples, engine).values
    seen = [inner_values(wide(), dict(sample.inputs)) for sample in samples]
    for name, value in found.items():
        whole = np.concatenate([values[name] for values in seen]).astype(np.float64)
        sampled = value.histogram.counts.sum() // len(samples)
        assert sampled < whole[0].size / 4
        taken = [array for array in grids(whole, int(sampled)) if _same(value.mean, array.mean((0, 2, 3)))]
        assert len(taken) == 1, name
        (array,) = taken
        assert _same(value.square, np.square(array).mean((0, 2, 3)))
        assert (value.square > value.mean**2).all()
        # The extremes are of all positions, which the grid alone would miss.
        np.testing.assert_array_equal(value.maximum, whole.max((0, 2, 3)))
        assert (value.maximum >= array.max((0, 2, 3))).all()
        assert (value.maximum > array.max((0, 2, 3))).any() or name == "x"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_the_minimum_of_what_cannot_be_negative_is_zero() -> None:
    found = collected(drawn(3)).values
    for name in ("r", "p"):
        assert not found[name].minimum.any()
        assert found[name].evidence().minimum == 0
    seen = [inner_values(wide(), dict(sample.inputs)) for sample in drawn(3)]
    for name in ("x", "c", "d"):
        lowest = np.min([values[name].min((0, 2, 3)) for values in seen], axis=0)
        np.testing.assert_array_equal(found[name].minimum, lowest)
    assert seen[0]["r"][:, 4].min() > 0


def test_samples_seen_again_change_nothing_and_take_no_room() -> None:
    samples = drawn(25)
    once, often = collected(samples), collected(samples * 12)
    assert (once.count, often.count) == (25, 300)
    for name, one in once.values.items():
        many = often.values[name]
        np.testing.assert_array_equal(many.minimum, one.minimum)
        np.testing.assert_array_equal(many.maximum, one.maximum)
        np.testing.assert_allclose(many.mean, one.mean, rtol=1e-12)
        np.testing.assert_allclose(many.square, one.square, rtol=1e-12)
        np.testing.assert_array_equal(many.histogram.counts, 12 * one.histogram.counts)
        assert many.histogram.zeros == 12 * one.histogram.zeros
        assert [getattr(many, part).nbytes for part in ("minimum", "maximum", "mean", "square")] == [
            getattr(one, part).nbytes for part in ("minimum", "maximum", "mean", "square")
        ]


def test_thinned_histograms_are_the_same_whichever_thread_runs_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of values of many channels only every n-th number is binned, others of each sample."""
    monkeypatch.setattr("fewbits.calibration.collect._WANTED_SAMPLES", 1 << 11)
    samples = drawn(40)
    alone = collect(wide(), ["c", "d"], samples, 40, ONNXRUNTIME, Options(threads=1)).values
    for threads in (2, 3, 4):
        together = collect(wide(), ["c", "d"], samples, 40, ONNXRUNTIME, Options(threads=threads)).values
        assert {name: value.histogram for name, value in together.items()} == {
            name: value.histogram for name, value in alone.items()
        }
        for name, value in together.items():
            assert 2000 <= value.histogram.counts.sum() < 3000
            np.testing.assert_allclose(value.mean, alone[name].mean, rtol=1e-12)
    monkeypatch.undo()
    for name, value in collected(samples).values.items():
        if name in alone:  # the moments are of all numbers as before
            assert value.histogram.counts.sum() > 2 * alone[name].histogram.counts.sum()
            np.testing.assert_allclose(value.mean, alone[name].mean, rtol=1e-12)


def test_merged_moments_are_weighted_by_the_number_of_samples() -> None:
    parts = collected(drawn(3)), collected(drawn(14, start=3))
    merged, whole = parts[0].merge(parts[1]), collected([*drawn(3), *drawn(14, start=3)])
    for name, value in whole.values.items():
        np.testing.assert_allclose(merged.values[name].mean, value.mean, rtol=1e-12)
        np.testing.assert_allclose(merged.values[name].square, value.square, rtol=1e-12)
        halves = [part.values[name].square for part in parts]
        assert np.abs(value.square - np.mean(halves, axis=0)).max() > 1e-9 * value.square.max()


def test_squares_survive_a_file_and_files_of_earlier_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    statistics = collected(drawn(2))
    statistics.save(path)
    for name, value in Statistics.load(path).values.items():
        np.testing.assert_array_equal(value.square, statistics.values[name].square)
        np.testing.assert_array_equal(value.mean, statistics.values[name].mean)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    assert header["version"] == 4
    for changed in ({"version": 2}, {"version": 3}):
        np.savez(path, **(arrays | {"header": np.array(json.dumps(header | changed))}))
        with pytest.raises(InputError, match=r"version \d, this fewbits reads 4"):
            Statistics.load(path)
    others = {key: array for key, array in arrays.items() if key != "square"}
    channels = header["channels"]
    sizes = [{"channels": channels[1:]}, {"bins": [-1, *header["bins"]]}, {"exponent": []}, {"values": ["x"] * 99}]
    headers = [{"header": np.array(json.dumps(header | changed))} for changed in sizes]
    for damaged in (others, others | {"square": arrays["square"][1:]}, *(arrays | changed for changed in headers)):
        np.savez(path, **damaged)
        with pytest.raises(InputError, match="not a statistics file"):
            Statistics.load(path)


def test_long_vectors_keep_all_their_channels() -> None:
    """x [1, 9216] into a linear layer, more numbers than are sampled of an image: each is a channel of its own."""
    model = network("g (float[1,9216] x) => (float[1,3] y) { y = MatMul(x, w) }", w=(9216, 3))
    rng = np.random.default_rng(0)
    seen = [Sample(f"s{i}", {"x": rng.normal(size=(1, 9216)).astype(np.float32)}) for i in range(4)]
    found = collect(model, ["x"], seen, len(seen), ENGINES["onnxruntime"], Options(threads=1)).values["x"]
    rows = np.concatenate([sample.inputs["x"] for sample in seen])
    np.testing.assert_array_equal(found.minimum, rows.min(axis=0))
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-6)
    assert found.histogram.count == rows.size
