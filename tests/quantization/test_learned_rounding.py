"""What a layer reads, patch by patch, and weights rounded so that its outputs change least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tuning import ONE_THREAD, distance_db, planned, weights

from fewbits.data import Sample
from fewbits.engines import TRIALS
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.numerics import fake_quantize, quantize
from fewbits.quantization.corrections import rounding
from fewbits.quantization.corrections.patches import Patches
from fewbits.quantization.corrections.rounding import learn_rounding
from fewbits.quantization.linear import by_channel
from fewbits.quantization.plan import QuantPlan
from models import check, network, node, on_onnxruntime, residual


class Chosen:
    """In place of a random generator: takes the places it is told."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = np.array(places)

    def choice(self, total: int, size: int, replace: bool) -> np.ndarray:
        assert not replace
        assert size == min(total, self.places.size)
        return self.places[:size]


# Attributes of a convolution, shapes of input and weights.
CONVOLUTIONS = {
    "plain": ("group=1", (4, 7, 6), (3, 4, 3, 2)),
    "strides": ("strides=[2,3]", (2, 9, 8), (3, 2, 2, 3)),
    "dilations": ("dilations=[2,3]", (2, 9, 9), (3, 2, 3, 2)),
    "pads on all sides": ("pads=[0,1,2,3]", (2, 5, 5), (3, 2, 3, 3)),
    "all of it": ("pads=[2,0,1,1], strides=[3,2], dilations=[1,2], group=2", (4, 9, 10), (6, 2, 3, 2)),
    "depthwise": ("pads=[1,1,1,1], group=5", (5, 6, 6), (5, 1, 3, 3)),
    "one axis": ("pads=[2,0], strides=[2], dilations=[2]", (3, 11), (4, 3, 3)),
    "three axes": ("pads=[1,0,0,0,2,1], strides=[1,2,1]", (2, 4, 6, 5), (3, 2, 2, 3, 2)),
    "a point": ("strides=[2,2]", (3, 5, 5), (2, 3, 1, 1)),
    "no padding by name": ('auto_pad="VALID"', (2, 5, 6), (3, 2, 2, 2)),
}


@pytest.mark.parametrize("what", CONVOLUTIONS)
def test_weights_times_a_patch_are_the_output_at_its_place(what: str) -> None:
    """In whole numbers, so exactly; at every place, and at a few."""
    attributes, shape, kernel = CONVOLUTIONS[what]
    rng = np.random.default_rng(0)
    w = rng.integers(-4, 5, kernel).astype(np.float32)
    x = rng.integers(-9, 10, (1, *shape)).astype(np.float32)
    sizes = ",".join(map(str, x.shape))
    model = network(f"g (float[{sizes}] x) => (y) {{ [conv] y = Conv<{attributes}>(x, w) }}", w=w)
    truth = on_onnxruntime(model, {"x": x})["y"]
    conv = node(model, "conv")
    patches, matrix = Patches.of(conv), by_channel(conv, w)
    assert patches is not None
    assert matrix is not None
    flat = truth.reshape(kernel[0], -1)
    order = np.random.default_rng(1).permutation(flat.shape[1])
    for places in (order, order[:3]):
        drawn = patches.draw(x, places.size, Chosen(places))
        assert drawn.shape == (shape[0], int(np.prod(kernel[2:])), places.size)
        got = np.einsum("goik,gikn->gon", matrix, drawn.reshape(*matrix.shape[:1], *matrix.shape[2:], -1))
        np.testing.assert_array_equal(got.reshape(kernel[0], -1), flat[:, places])


@pytest.mark.parametrize("shape", [(1, 5), (1, 7, 5), (1, 2, 3, 5)])
def test_rows_of_a_linear_layer(shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rows = value.reshape(-1, 5)
    everything = Patches().draw(value, 99, np.random.default_rng(0))
    assert not np.shares_memory(everything, value)  # an engine uses that memory again
    np.testing.assert_array_equal(everything, rows.T[:, None, :])
    if len(rows) > 3:
        some = Patches().draw(value, 3, Chosen([4, 0, 2]))
        np.testing.assert_array_equal(some, rows[[4, 0, 2]].T[:, None, :])


def test_layers_without_fixed_patches_have_none() -> None:
    model = network(
        """g (float[1,3,8,8] x) => (y, z) {
             [same] s = Conv<auto_pad="SAME_UPPER">(x, w)  y = Neg(s)  [up] t = ConvTranspose(x, v)  z = Neg(t) }""",
        w=(4, 3, 3, 3),
        v=(3, 4, 2, 2),
    )
    assert Patches.of(node(model, "same")) is None
    assert Patches.of(node(model, "up")) is None


def smooth(model: ir.Model, count: int = 24) -> list[Sample]:
    """Neighbours and channels that resemble each other, as in images and features."""
    (value,) = model.graph.inputs
    shape = [size for size in value.shape or () if isinstance(size, int)]
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = rng.normal(size=[1, 1, *(-(-size // 4) for size in shape[2:])])
        for axis in range(2, len(shape)):
            coarse = coarse.repeat(4, axis=axis)
        cut = coarse[(slice(None), slice(None), *(slice(0, size) for size in shape[2:]))]
        mixed = cut * np.linspace(1, 2, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
        made.append(Sample(f"s{seed}", {"x": (mixed + 0.1 * rng.normal(size=shape)).astype(np.float32)}))
    return made


LAYERS = {
    "convolution": ("float[1,6,12,12] x", "c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", (10, 6, 3, 3), 10),
    "grouped": ("float[1,6,12,12] x", "c = Conv<group=2>(x, w, b)", (8, 3, 3, 3), 8),
    "depthwise": ("float[1,6,12,12] x", "c = Conv<pads=[1,1,1,1], group=6>(x, w, b)", (6, 1, 3, 3), 6),
    "one axis": ("float[1,6,40] x", "c = Conv(x, w, b)", (8, 6, 5), 8),
    "Gemm": ("float[1,30] x", "c = Gemm(x, w, b)", (30, 12), 12),
    "Gemm, transposed": ("float[1,30] x", "c = Gemm<transB=1>(x, w, b)", (12, 30), 12),
    "MatMul": ("float[1,9,24] x", "m = MatMul(x, w)  c = Add(m, b)", (24, 10), 10),
}


def rounded_to_nearest(model: ir.Model, plan: QuantPlan) -> ir.Model:
    made = model.clone()
    for name, params in plan.weights.items():
        new = add_initializer(made, f"{name}.nearest", fake_quantize(weights(made, name), params))
        replace_input(made, node(made, name), 1, new)
    return made


def learned(model: ir.Model, plan: QuantPlan, drawn: Sequence[Sample], centred: bool = False) -> ir.Model:
    return learn_rounding(model, plan, drawn, TRIALS, ONE_THREAD, centred=centred)


def lies_on_levels(model: ir.Model, plan: QuantPlan) -> None:
    """On the levels of the plan: quantizing again changes nothing, and none is beyond the last level."""
    for name, params in plan.weights.items():
        found = weights(model, name)
        np.testing.assert_array_equal(fake_quantize(found, params), found)
        shape = [-1 if axis == params.axis else 1 for axis in range(found.ndim)]
        bound = params.scale.reshape(shape) * params.format.qmax
        assert (np.abs(found) <= bound * (1 + 1e-6)).all()


@pytest.mark.parametrize("what", LAYERS)
def test_outputs_change_less_than_with_nearest_rounding(what: str) -> None:
    given, text, shape, outputs = LAYERS[what]
    model = network(f"g ({given}) => (y) {{ {text}  y = Neg(c) }}", w=shape, b=(outputs,))
    drawn = smooth(model)
    before = ir.to_proto(model).SerializeToString()
    plan = planned(model, drawn)
    assert len(plan.weights) == 1
    made = learned(model, plan, drawn)
    assert ir.to_proto(model).SerializeToString() == before
    check(made)
    lies_on_levels(made, plan)
    (name,) = plan.weights
    steps = quantize(weights(made, name), plan.weights[name]).astype(int) - quantize(
        weights(model, name), plan.weights[name]
    ).astype(int)
    assert 0 < np.abs(steps).max() <= 12
    assert distance_db(model, made, drawn) > distance_db(model, rounded_to_nearest(model, plan), drawn) + 3


def test_a_whole_network_gains_on_samples_it_has_not_seen() -> None:
    model = residual()
    drawn = smooth(model, 40)
    plan = planned(model, drawn[:24])
    made = learned(model, plan, drawn[:24])
    check(made)
    lies_on_levels(made, plan)
    assert set(plan.weights) == {"stem", "conv1", "conv2", "conv3", "fc"}
    unseen = drawn[24:]
    assert distance_db(model, made, unseen) > distance_db(model, rounded_to_nearest(model, plan), unseen) + 2


def test_centred_moments_leave_the_mean_to_the_bias() -> None:
    """Inputs around 5: seen from zero the mean is all that counts, seen from their mean it does not count at all."""
    model = network("g (float[1,40] x) => (float[1,16] y) { [fc] c = Gemm(x, w)  y = Neg(c) }", w=(40, 16))
    rng = np.random.default_rng(0)
    mixer = rng.normal(size=(4, 40))
    inputs = [5 + rng.normal(size=(1, 4)) @ mixer + 0.05 * rng.normal(size=(1, 40)) for _ in range(60)]
    drawn = [Sample(f"s{i}", {"x": x.astype(np.float32)}) for i, x in enumerate(inputs)]
    plan = planned(model, drawn)
    rows = np.concatenate(inputs)

    def errors(centred: bool) -> tuple[float, float]:
        made = learned(model, plan, drawn, centred)
        error = rows @ (weights(made, "fc") - weights(model, "fc"))
        return float(np.abs(error.mean(axis=0)).mean()), float(error.std(axis=0).mean())

    (mean, spread), (mean_centred, spread_centred) = errors(False), errors(True)
    assert mean < mean_centred
    assert spread_centred < spread


def test_moments_that_do_not_fit_at_once_take_more_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual()
    drawn = smooth(model, 6)
    plan = planned(model, drawn)
    passes: list[tuple[int, int]] = []
    once = learned(model, plan, drawn)
    monkeypatch.setattr(rounding, "_MOMENT_BYTES", 4 * 72**2 + 4 * 27**2)  # the stem and one more layer
    often = learn_rounding(
        model, plan, drawn, TRIALS, ONE_THREAD, centred=False, progress=lambda *done: passes.append(done)
    )
    for name in plan.weights:
        np.testing.assert_array_equal(weights(often, name), weights(once, name))
    assert passes[-1] == (18, 18), "three passes over six samples"
    assert [done for done, _ in passes] == list(range(1, 19))


def test_layers_it_cannot_learn_keep_their_weights() -> None:
    """A transposed convolution's inputs overlap, a layer kept in float has no levels."""
    model = network(
        """g (float[1,4,8,8] x) => (float[1,5,14,14] y) {
             [first] c = Conv(x, w1)  r = Relu(c)  [up] t = ConvTranspose<strides=[2,2]>(r, w2)  q = Relu(t)
             [last] o = Conv(q, w3)  y = Sigmoid(o) }""",
        w1=(6, 4, 3, 3),
        w2=(6, 6, 4, 4),
        w3=(5, 6, 1, 1),
    )
    drawn = smooth(model, 6)
    plan = planned(model, drawn)
    somewhere = {name: plan.weights[name] for name in plan.weights if name != "first"}
    transposed = somewhere | {"up": plan.weights["last"]}
    made = learned(model, QuantPlan(plan.values, transposed, plan.integer, plan.skipped, plan.int32_bias), drawn)
    for name in ("first", "up"):
        assert node(made, name).inputs[1].name == node(model, name).inputs[1].name
        np.testing.assert_array_equal(weights(made, name), weights(model, name))
    assert not np.array_equal(weights(made, "last"), weights(model, "last"))


def test_inputs_whose_squares_overflow_leave_the_weights_as_they_are() -> None:
    model = network("g (float[1,8] x) => (float[1,4] y) { [linear] y = MatMul(x, w) }", w=(8, 4))
    loud = [Sample(s.name, {"x": s.inputs["x"] * np.float32(1e25)}) for s in smooth(model)]
    plan = planned(model, loud)
    assert "linear" in plan.weights
    made = learned(model, plan, loud)
    np.testing.assert_array_equal(weights(made, "linear"), weights(model, "linear"))
