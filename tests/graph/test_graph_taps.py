"""Taps report NumPy's reductions of the values inside, for every way ONNX ever wrote a reduction."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from models import check, dynamic_batch, feed, inner_values, network, oracle, residual

from fewbits.graph.taps import OUTPUTS, channel_axis, tapped

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
    outputs = oracle(probe, inputs)
    assert tuple(outputs) == OUTPUTS
    low, high, mean, sample = outputs.values()
    assert low.size == high.size == mean.size == sum(layout.channels)
    assert sample.size == sum(layout.sampled)
    at_channel = at_sample = 0
    for name, channels, sampled in zip(names, layout.channels, layout.sampled, strict=True):
        array = values[name]
        axis = channel_axis(array.ndim)
        over = tuple(i for i in range(array.ndim) if i != axis)
        cut = slice(at_channel, at_channel + channels)
        np.testing.assert_array_equal(low[cut], array.min(over))
        np.testing.assert_array_equal(high[cut], array.max(over))
        np.testing.assert_allclose(mean[cut], array.mean(over, dtype=np.float64), rtol=1e-4, atol=1e-6)
        _check_sample(array, axis, sample[at_sample : at_sample + sampled], density)
        at_channel, at_sample = at_channel + channels, at_sample + sampled


def _check_sample(array: np.ndarray, axis: int, sample: np.ndarray, density: int) -> None:
    """A grid of the tensor: no number of another value, every channel equally often, about as many as asked for."""
    if sample.size == array.size:
        np.testing.assert_array_equal(sample, array.reshape(-1))
        return
    assert np.isin(sample, array).all()
    least = array.shape[axis] if array.ndim > 2 else 1
    assert density / 10 <= sample.size <= max(density, least)
    if array.ndim == 4:
        channels = array.shape[1]
        by_channel = sample.reshape(channels, -1)
        for channel in range(channels):
            assert np.isin(by_channel[channel], array[0, channel]).all()
    if array.ndim == 3:  # odd steps meet every phase of a strided pattern
        rows = sample.size // array.shape[2]
        step = next(t for t in range(1, 99, 2) if math.ceil(array.shape[1] / t) == rows)
        np.testing.assert_array_equal(sample.reshape(rows, -1), array[0, ::step])


def test_the_probe_gives_only_its_four_outputs_and_drops_what_they_do_not_need() -> None:
    model = residual()
    probe, _ = tapped(model, ["r0"], 100)
    assert [v.name for v in probe.graph.outputs] == list(OUTPUTS)
    assert not any(n.op_type in ("Gemm", "Add", "GlobalAveragePool") for n in probe.graph)


def test_unknown_shapes_are_refused_by_name() -> None:
    model = network("g (float[1,3,H,W] x) => (float[1,3,H,W] y) { a = Neg(x)  y = Neg(a) }")
    with pytest.raises(ValueError, match=r"shape of a .*fixed input sizes"):
        tapped(model, ["a"], 100)
