"""Taps report NumPy's reductions of the values inside, for every way ONNX ever wrote a reduction."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.graph.taps import OUTPUT, channel_axis, tapped
from models import check, dynamic_batch, feed, inner_values, network, oracle, residual

OPSETS = [13, 17, 18, 21]


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
    probe, layout = tapped(model, names, density)
    assert ir.to_proto(model).SerializeToString() == before
    check(probe)
    assert layout.names == tuple(names)
    (joined,) = oracle(probe, inputs).values()
    assert joined.shape == (layout.size,)
    start = 0
    for name, channels, sampled in zip(names, layout.channels, layout.sampled, strict=True):
        array = values[name]
        axis = channel_axis(array.ndim)
        over = tuple(i for i in range(array.ndim) if i != axis)
        low, high, mean = joined[start : start + 3 * channels].reshape(3, channels)
        np.testing.assert_array_equal(low, array.min(over))
        np.testing.assert_array_equal(high, array.max(over))
        np.testing.assert_allclose(mean, array.mean(over, dtype=np.float64), rtol=1e-4, atol=1e-6)
        start += 3 * channels + sampled
        _check_sample(array, axis, joined[start - sampled : start], density)
    assert start == joined.size


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
