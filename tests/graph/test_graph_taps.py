"""Taps report NumPy's reductions of the values inside, for every way ONNX ever wrote a reduction."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.graph.queries import dims_or_raise as dims
from fewbits.graph.queries import never_negative
from fewbits.graph.taps import EXTREMES, MAXIMUM, MEAN, MINIMUM, OUTPUT, channel_axis, tapped
from models import check, conv_relu_conv, dynamic_batch, feed, inner_values, network, oracle, residual, value

OPSETS = [13, 17, 18, 21]
# Where the channels of a value of so many axes lie.
AXES = {2: 1, 3: 2, 4: 1}


def sequence(opset: int) -> ir.Model:
    return network(
        """g (float[1,12,16] x) => (float[1,12,5] y) {
             h = MatMul(x, w1)  r = Relu(h)  y = MatMul(r, w2) }""",
        opset,
        w1=(16, 24),
        w2=(24, 5),
    )


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("build", [residual, sequence, dynamic_batch])
@pytest.mark.parametrize("density", [40, 10_000])
def test_taps_are_numpy_reductions(build, opset: int, density: int) -> None:
    model = build(opset)
    inputs = feed(model)
    values = inner_values(model, inputs)
    names = list(values)
    before = ir.to_proto(model).SerializeToString()
    probe, layout = tapped(model, names, density, (*EXTREMES, MEAN))
    assert ir.to_proto(model).SerializeToString() == before
    check(probe)
    assert [tap.name for tap in layout.taps] == names
    (joined,) = oracle(probe, inputs).values()
    assert joined.shape == (layout.size,)
    used = np.zeros(layout.size, int)
    for name, tap in zip(names, layout.taps, strict=True):
        array = values[name]
        axis = AXES[array.ndim]
        over = tuple(i for i in range(array.ndim) if i != axis)
        expected = {MINIMUM: array.min(over), MAXIMUM: array.max(over), MEAN: array.mean(over, dtype=np.float64)}
        if never_negative(value(model, name)):  # its minimum is 0 without looking
            assert array.min() >= 0
            del expected[MINIMUM]
        assert tap.places.keys() == expected.keys()
        for reduction, truth in expected.items():
            cut = tap.places[reduction]
            used[cut] += 1
            rtol, atol = (1e-4, 1e-6) if reduction == MEAN else (0, 0)
            np.testing.assert_allclose(joined[cut], truth.reshape(-1), rtol=rtol, atol=atol)
        used[tap.sample] += 1
        assert tap.axis is not None
        _check_sample(np.moveaxis(array, axis, tap.axis), tap.axis, joined[tap.sample], density)
        by_channel = tap.by_channel(joined[tap.sample][None])
        assert by_channel.shape[2] == tap.channels == array.shape[axis]
        if tap.sampled == array.size:  # all of it: the same sums, channel by channel
            np.testing.assert_allclose(by_channel.sum((0, 1, 3)), array.sum(over).reshape(-1), rtol=1e-4, atol=1e-4)
    assert np.all(used == 1), "every number of the joined output is one tap's"
    for reduction in (*EXTREMES, MEAN):
        cuts = [tap.places[reduction] for tap in layout.taps if reduction in tap.places]
        assert layout.positions(reduction) == cuts


@pytest.mark.parametrize(("together", "bundles"), [(0, 5), (2 * 4 * 3 * 24 * 24, 3), (1 << 30, 1)])
@pytest.mark.parametrize("density", [0, 50])
def test_values_of_one_size_are_reduced_together_as_far_as_they_fit(
    monkeypatch: pytest.MonkeyPatch, together: int, bundles: int, density: int
) -> None:
    """Five values [1, 3, 24, 24]; how they are bundled changes the operators, not the numbers."""
    model = network(
        """g (float[N,3,24,24] x) => (float[N,3,24,24] d) {
             a = Conv<pads=[1,1,1,1]>(x, w1)  b = Conv<pads=[1,1,1,1]>(a, w2)
             c = Conv<pads=[1,1,1,1]>(b, w3)  d = Conv<pads=[1,1,1,1]>(c, w4) }""",
        **dict.fromkeys(("w1", "w2", "w3", "w4"), (3, 3, 3, 3)),
    )
    monkeypatch.setattr("fewbits.graph.taps._TOGETHER_BYTES", together)
    inputs = {"x": feed(model)["x"][:1]}
    probe, layout = tapped(model, ["d", "a", "b", "c", "x"], density)
    (joined,) = oracle(probe, inputs).values()
    assert sum(node.op_type == MAXIMUM for node in probe.graph) == bundles
    for name, array in inner_values(model, inputs).items():
        (tap,) = [tap for tap in layout.taps if tap.name == name]
        np.testing.assert_allclose(joined[tap.places[MAXIMUM]], array.max((0, 2, 3)), rtol=1e-5)
        assert tap.sampled == joined[tap.sample].size
        if density:
            _check_sample(array, 1, joined[tap.sample], density)


def test_the_probe_is_for_batch_one() -> None:
    """Said in the file, so that engines need not work out all shapes anew."""
    probe, _ = tapped(dynamic_batch(), ["x"], 10)
    assert [dims(v)[0] for v in probe.graph.inputs] == [1]


def _check_sample(array: np.ndarray, axis: int | None, sample: np.ndarray, density: int) -> None:
    """A centred grid with odd steps (they meet every phase of a strided pattern) and all channels."""
    grid = [i for i in range(1, array.ndim) if i != axis] or list(range(1, array.ndim))
    sizes = [array.shape[i] for i in grid]
    found = []
    for steps in itertools.product(*(range(1, size + 1, 2) for size in sizes)):
        counts = [math.ceil(size / step) for size, step in zip(sizes, steps, strict=True)]
        cut = [slice(None)] * array.ndim
        for i, size, step, count in zip(grid, sizes, steps, counts, strict=True):
            cut[i] = slice((size - 1 - (count - 1) * step) // 2, None, step)
        if np.array_equal(array[tuple(cut)].reshape(-1), sample):
            found.append(counts)
    assert found, "not a centred grid of this value"
    # What padding does to the border is never all that is seen: at least three positions of an axis that has them.
    assert all(count >= min(size, 3) for count, size in zip(found[0], sizes, strict=True))
    # As many as asked for, unless that were fewer than three; the next coarser odd step is at most twice as coarse.
    assert sample.size <= density or all(count < 7 for count in found[0])
    assert sample.size == array.size or sample.size > density / 10


def test_the_probe_gives_only_its_output_and_drops_what_they_do_not_need() -> None:
    model = residual()
    probe, _ = tapped(model, ["r0"], 100)
    assert [v.name for v in probe.graph.outputs] == [OUTPUT]
    assert not any(n.op_type in ("Gemm", "Add", "GlobalAveragePool") for n in probe.graph)


def test_unknown_shapes_are_refused_by_name() -> None:
    model = network("g (float[1,3,H,W] x) => (float[1,3,H,W] y) { a = Neg(x)  y = Neg(a) }")
    with pytest.raises(ValueError, match=r"shape of a .*fixed input sizes"):
        tapped(model, ["a"], 100)


def test_a_layout_without_samples_holds_reductions_only() -> None:
    model = conv_relu_conv()
    probe, layout = tapped(model, ["c1", "r1"], 0, (MEAN,))
    assert layout.size == 16
    (joined,) = oracle(probe, feed(model)).values()
    values = inner_values(model, feed(model))
    for name, cut in zip(("c1", "r1"), layout.positions(MEAN), strict=True):
        np.testing.assert_allclose(joined[cut], values[name].mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_a_sequence_around_a_convolution_has_its_channels_in_the_second_place() -> None:
    model = network(
        """g (float[1,6,9] x) => (float[1,9,4] y) {
             c = Conv<pads=[1,1]>(x, w1)  r = Relu(c)  d = Conv(r, w2)
             t = Transpose<perm=[0,2,1]>(d)  m = MatMul(t, w3)  n = Relu(m)  y = MatMul(n, w4) }""",
        w1=(5, 6, 3),
        w2=(7, 5, 1),
        w3=(7, 8),
        w4=(8, 4),
    )
    axes = {name: channel_axis(value(model, name)) for name in ("x", "c", "r", "d", "t", "m", "n", "y")}
    assert axes == {"x": 1, "c": 1, "r": 1, "d": 1, "t": 2, "m": 2, "n": 2, "y": 2}
    _, layout = tapped(model, ["r", "n"], 10)
    assert [tap.channels for tap in layout.taps] == [5, 8]
