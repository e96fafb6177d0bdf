"""Calibration sees exactly what NumPy sees, for any split of the samples, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits.calibration.collect import collect, fingerprint
from fewbits.calibration.statistics import Statistics, check_method
from fewbits.data import Sample
from fewbits.engines import ENGINES, Engine, Options
from fewbits.errors import DataError, EngineError, InputError
from fewbits.frontends import load
from fewbits.graph.files import save_onnx
from fewbits.numerics import Histogram
from models import feed, inner_values, network, node, value

NAMES = ["x", "c", "r", "p", "y"]
fast_engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)


def whole_numbers() -> ir.Model:
    """Weights and inputs are whole numbers, so that FP32 sums are exact in whatever order an engine adds."""
    rng = np.random.default_rng(0)
    return network(
        """g (float[N,3,6,6] x) => (float[N,5] y) {
             [conv] c = Conv<pads=[1,1,1,1]>(x, w, b)
             [relu] r = Relu(c)
             [pool] p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
             [flat] f = Flatten(p)
             [fc] y = MatMul(f, v) }""",
        w=rng.integers(-3, 4, (4, 3, 3, 3)).astype(np.float32),
        b=rng.integers(-3, 4, 4).astype(np.float32),
        v=rng.integers(-3, 4, (36, 5)).astype(np.float32),
    )


def whole_samples(count: int, start: int = 0) -> list[Sample]:
    made = []
    for i in range(start, start + count):
        x = np.random.default_rng(i).integers(-9, 10, (1, 3, 6, 6)).astype(np.float32)
        made.append(Sample(f"s{i}", {"x": x}))
    return made


def collected(samples: list[Sample], engine: Engine = ENGINES["onnxruntime"], threads: int = 2) -> Statistics:
    return collect(whole_numbers(), NAMES, samples, 40, engine, Options(threads=threads), sample_fingerprint="s")


def equal(one: Statistics, other: Statistics) -> bool:
    return one.values.keys() == other.values.keys() and all(
        np.array_equal(a.minimum, b.minimum)
        and np.array_equal(a.maximum, b.maximum)
        and np.allclose(a.mean, b.mean, rtol=1e-12, atol=1e-12)
        and np.allclose(a.square, b.square, rtol=1e-12, atol=1e-12)
        and a.histogram == b.histogram
        for a, b in ((one.values[name], other.values[name]) for name in one.values)
    )


@pytest.mark.parametrize("threads", [1, 3])
@fast_engines
def test_statistics_are_numpys(engine: Engine, threads: int) -> None:
    samples = whole_samples(37)  # not a multiple of the bundle the histograms are filled in
    statistics = collected(samples, engine, threads)
    assert (statistics.count, statistics.samples) == (37, "s")
    assert tuple(statistics.values) == tuple(NAMES)
    seen = [inner_values(whole_numbers(), dict(sample.inputs)) for sample in samples]
    for name in NAMES:
        array = np.concatenate([values[name] for values in seen])
        over = tuple(i for i in range(array.ndim) if i != 1)
        found = statistics.values[name]
        if name in ("r", "p"):  # a ReLU's: 0 without looking, and nearly so in truth
            assert array.min() >= 0
            np.testing.assert_array_equal(found.minimum, np.zeros(array.shape[1]))
        else:
            np.testing.assert_array_equal(found.minimum, array.min(over))
        np.testing.assert_array_equal(found.maximum, array.max(over))
        np.testing.assert_allclose(found.mean, array.mean(over, dtype=np.float64), rtol=1e-6, atol=1e-6)
        square = np.square(array, dtype=np.float64).mean(over)
        np.testing.assert_allclose(found.square, square, rtol=1e-6, atol=1e-6)
        assert found.mean.dtype == found.square.dtype == np.float64
        everything = Histogram.empty()
        everything.add(array)
        assert found.histogram == everything
        assert found.evidence().minimum == found.minimum.min()
        assert found.evidence().maximum == array.max()


@given(cut=st.integers(1, 19))
@settings(max_examples=6, deadline=None)
def test_any_split_merged_is_the_whole(cut: int) -> None:
    whole = collected(whole_samples(20))
    merged = collected(whole_samples(cut)).merge(collected(whole_samples(20 - cut, start=cut)))
    assert merged.count == 20
    assert equal(whole, merged)
    assert not equal(whole, merged.merge(collected(whole_samples(1))))


def test_statistics_of_different_models_or_values_do_not_merge() -> None:
    one = collected(whole_samples(2))
    for other in (replace(one, model="other"), replace(one, values={"x": one.values["x"]})):
        with pytest.raises(ValueError, match="merged"):
            one.merge(other)


def test_a_saved_file_is_read_back_equal(tmp_path: Path) -> None:
    statistics = collected(whole_samples(5))
    path = tmp_path / "new" / "statistics.npz"
    statistics.save(path)
    again = Statistics.load(path)
    assert (again.model, again.samples, again.count) == (statistics.model, statistics.samples, statistics.count)
    assert equal(again, statistics)
    assert [p.name for p in path.parent.iterdir()] == ["statistics.npz"]
    for symmetric in (True, False):
        for method in ("minmax", "mse", "percentile", "entropy"):
            assert again.ranges(method, symmetric=symmetric) == statistics.ranges(method, symmetric=symmetric)


@pytest.mark.parametrize(
    "what", ["cut short", "cut in half", "bit flips", "text", "empty", "missing", "npy", "other npz", "model", "header"]
)
def test_files_that_are_no_statistics_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "statistics.npz"
    collected(whole_samples(2)).save(path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for place in range(200, len(whole), 211):
        damaged[place] ^= 0xFF
    match what:
        case "cut short":
            path.write_bytes(whole[:-30])
        case "cut in half":
            path.write_bytes(whole[: len(whole) // 2])
        case "bit flips":
            path.write_bytes(damaged)
        case "text":
            path.write_text("minimum,maximum\n0,1\n")
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "npy":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "other npz":
            np.savez(path, x=np.zeros(3))
        case "model":
            save_onnx(whole_numbers(), path)
        case "header":
            np.savez(path, header=np.array("[1, 2]"))
    with pytest.raises(InputError, match="not a statistics file") as caught:
        Statistics.load(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("position", [0, 7, 30])
@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@fast_engines
def test_activations_that_are_not_finite_are_named(engine: Engine, fault: float, position: int) -> None:
    """One number of one sample is enough, wherever it stands among finite ones."""
    model = network("g (float[1,1,6,6] x) => (float[1,1,6,6] y) { a = Neg(x)  y = Relu(a) }")
    samples = [Sample(f"s{i}", feed(model, i)) for i in range(20)]
    samples[11].inputs["x"].flat[position] = fault
    with pytest.raises(DataError, match=r"activation a .*infinite or NaN.*preprocessing"):
        collect(model, ["a"], samples, 20, engine, Options(threads=2))


def test_no_sample_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no calibration sample"):
        collected([])


@fast_engines
def test_a_model_in_which_nothing_is_watched_gives_empty_statistics(engine: Engine) -> None:
    """``--keep-float '*'``, or a model without a single constant weight."""
    statistics = collect(whole_numbers(), [], whole_samples(3), 3, engine, Options(threads=1))
    assert (statistics.count, dict(statistics.values)) == (3, {})


def test_a_sample_the_engine_cannot_run_stops_all_threads() -> None:
    samples = whole_samples(40)
    samples[20] = Sample("odd", {"x": np.zeros((1, 4, 6, 6), np.float32)})
    with pytest.raises(EngineError):
        collected(samples)


def test_an_error_of_the_data_set_reaches_the_caller() -> None:
    def broken() -> Iterator[Sample]:
        yield from whole_samples(5)
        raise DataError("too many samples cannot be read")

    with pytest.raises(DataError, match="too many"):
        collect(whole_numbers(), NAMES, broken(), 40, ENGINES["onnxruntime"], Options(threads=2))


def stored(statistics: Statistics) -> int:
    values = statistics.values.values()
    return sum(v.minimum.size + v.maximum.size + v.mean.size + v.square.size + v.histogram.counts.size for v in values)


def test_memory_does_not_grow_with_the_samples() -> None:
    def peak(count: int) -> tuple[int, int]:
        stream = (whole_samples(1, start=i)[0] for i in range(count))
        tracemalloc.start()
        statistics = collect(whole_numbers(), NAMES, stream, count, ENGINES["onnxruntime"], Options(threads=2))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert statistics.count == count
        return size, stored(statistics)

    peak(5)  # imports and caches
    few, many = peak(150), peak(2000)
    assert many[1] == few[1]
    # 1850 samples more are 800 kB of inputs and 3 MB of activations; what is kept of them is nothing. How much of
    # the threads' passing arrays coincides varies by 200 kB.
    assert many[0] < few[0] + 400_000


def test_progress_counts_the_samples() -> None:
    seen: list[int] = []
    collect(
        whole_numbers(), NAMES, whole_samples(7), 7, ENGINES["onnxruntime"], Options(threads=1), progress=seen.append
    )
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def changed(what: str) -> ir.Model:
    model = whole_numbers()
    match what:
        case "a weight":
            weights = model.graph.initializers["w"].const_value.numpy().copy()
            weights.flat[17] += 1
            model.graph.initializers["w"].const_value = ir.tensor(weights, name="w")
        case "an attribute":
            node(model, "conv").attributes["pads"] = ir.AttrInt64s("pads", [1, 0, 1, 2])
        case "an operator":
            node(model, "relu").op_type = "Elu"
        case "the wiring":
            node(model, "pool").replace_input_with(0, value(model, "c"))
    return model


@pytest.mark.parametrize("what", ["a weight", "an attribute", "an operator", "the wiring"])
def test_the_fingerprint_changes_with(what: str) -> None:
    assert fingerprint(changed("nothing")) == fingerprint(whole_numbers())
    assert fingerprint(changed(what)) != fingerprint(whole_numbers())


@pytest.mark.parametrize(
    "text",
    [
        """g (float[N,6] x) => (float[N,6] y) {
            s = Shape(x) o = ConstantOfShape<value=float[1] {2.5}>(s) y = Add(x, o) }""",
        """g (float[1,6] x) => (float[1,6] y) { b = Cast<to=9>(x) c = ReduceMax<axes=[1], keepdims=0>(x)
             d = Squeeze(c) e = Cast<to=9>(d)
             y = If(e) <then_branch = a () => (float[1,6] t) { t = Relu(x) },
                        else_branch = b () => (float[1,6] f) { f = Neg(x) }> }""",
    ],
    ids=["a tensor attribute", "a graph attribute"],
)
def test_the_fingerprint_is_the_same_for_the_same_file(tmp_path: Path, text: str) -> None:
    save_onnx(network(text), tmp_path / "m.onnx")
    first, second = load(tmp_path / "m.onnx"), load(tmp_path / "m.onnx")
    assert fingerprint(first) == fingerprint(second)


def test_unknown_methods_are_refused_with_the_list() -> None:
    check_method("auto")
    with pytest.raises(InputError, match=r"'best'.*auto, mse, entropy, percentile, minmax"):
        check_method("best")
