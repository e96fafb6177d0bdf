"""What rounding shifts a layer's mean output by is taken back in its bias: computed from means, or measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from tuning import MINMAX, ONE_THREAD, bench, planned, watched, weights

from fewbits.calibration.statistics import Statistics
from fewbits.data import Sample
from fewbits.engines import ENGINES, TRIALS, Engine
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.numerics import fake_quantize
from fewbits.quantization.corrections.bias import mean_shifts, shift_biases
from fewbits.quantization.corrections.bias_measured import measured_shifts
from fewbits.quantization.linear import bias_of
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.workshop import Workshop
from models import check, conv_relu_conv, inner_values, network, node, residual, samples

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)

# Of each layer: the input, the nodes up to its result ``c``, its weights, which axes of the input are summed over
# together with the weights' own, as einsum says it, and how many outputs it has.
LAYERS = {
    "convolution": ("1,6,9,9", "[layer] c = Conv(x, w, b)", (5, 6, 3, 3), "oikl,i->o", 5),
    "without a bias": ("1,6,9,9", "[layer] c = Conv<strides=[2,2]>(x, w)", (5, 6, 3, 3), "oikl,i->o", 5),
    "depthwise": ("1,6,9,9", "[layer] c = Conv<group=6>(x, w, b)", (6, 1, 3, 3), "oikl,o->o", 6),
    "one axis": ("1,6,40", "[layer] c = Conv(x, w, b)", (5, 6, 3), "oik,i->o", 5),
    "Gemm": ("1,30", "[layer] c = Gemm(x, w, b)", (30, 7), "io,i->o", 7),
    "Gemm, transposed": ("1,30", "[layer] c = Gemm<transB=1>(x, w, b)", (7, 30), "oi,i->o", 7),
    "MatMul and Add": ("1,8,30", "[layer] m = MatMul(x, w)  c = Add(m, b)", (30, 7), "io,i->o", 7),
    "Add and MatMul": ("1,8,30", "[layer] m = MatMul(x, w)  c = Add(b, m)", (30, 7), "io,i->o", 7),
}


def layer(what: str) -> ir.Model:
    shape, text, kernel, _, outputs = LAYERS[what]
    given = {"w": kernel} | ({} if what == "without a bias" else {"b": (outputs,)})
    return network(f"g (float[{shape}] x) => (y) {{ {text}  y = Neg(c) }}", **given)


def drawn(model: ir.Model, count: int = 12) -> list[Sample]:
    """Channels with means of their own, far from zero, as behind a ReLU."""
    axis = {2: 1, 3: 2, 4: 1}[len(model.graph.inputs[0].shape or ())]
    if any(n.op_type == "Conv" for n in model.graph):
        axis = 1
    made = []
    for sample in samples(model, count):
        x = sample.inputs["x"]
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        made.append(Sample(sample.name, {"x": x + np.linspace(-3, 6, x.shape[axis], dtype=np.float32).reshape(shape)}))
    return made


def with_weights(model: ir.Model, made: QuantPlan) -> ir.Model:
    """The model with its weights rounded to the nearest."""
    model = model.clone()
    for name, params in made.weights.items():
        value = add_initializer(model, f"{name}.nearest", fake_quantize(weights(model, name), params))
        replace_input(model, node(model, name), 1, value)
    return model


def channel_means(model: ir.Model, seen: list[Sample], name: str, axis: int) -> np.ndarray:
    arrays = np.concatenate([inner_values(model, dict(sample.inputs))[name] for sample in seen]).astype(np.float64)
    return arrays.mean(axis=tuple(i for i in range(arrays.ndim) if i != axis))


@pytest.mark.parametrize("what", LAYERS)
def test_the_shift_is_the_error_of_the_weights_times_the_means(what: str) -> None:
    """By hand: (W - W~) E[x], E[x] by NumPy over all samples and positions."""
    *_, subscripts, outputs = LAYERS[what]
    source = layer(what)
    seen = drawn(source)
    made = planned(source, seen)
    axis = 1 if "Conv" in LAYERS[what][1] else len(source.graph.inputs[0].shape or ()) - 1
    means = channel_means(source, seen, "x", axis)
    error = weights(source, "layer").astype(np.float64) - fake_quantize(
        weights(source, "layer"), made.weights["layer"]
    ).astype(np.float64)
    shifts = mean_shifts(source, source, made, watched(source, seen))
    assert shifts.keys() == {"layer"}
    assert shifts["layer"].shape == (outputs,)
    wanted = np.einsum(subscripts, error, means)
    np.testing.assert_allclose(shifts["layer"], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_groups_read_the_means_of_their_own_inputs() -> None:
    source = network(
        "g (float[1,6,5,5] x) => (y) { [layer] c = Conv<group=2>(x, w, b)  y = Neg(c) }", w=(4, 3, 2, 2), b=(4,)
    )
    seen = drawn(source)
    made = planned(source, seen)
    means = channel_means(source, seen, "x", 1)
    error = weights(source, "layer") - fake_quantize(weights(source, "layer"), made.weights["layer"])
    wanted = [error[o].sum(axis=(1, 2)) @ means[3 * (o // 2) : 3 * (o // 2) + 3] for o in range(4)]
    shifts = mean_shifts(source, source, made, watched(source, seen))
    np.testing.assert_allclose(shifts["layer"], wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("way", ["means", "measured"])
@pytest.mark.parametrize("what", LAYERS)
def test_the_mean_output_comes_back(what: str, way: str) -> None:
    source = layer(what)
    seen = drawn(source)
    made = planned(source, seen)
    if way == "means":
        shifts = mean_shifts(source, source, made, watched(source, seen))
    else:
        only_weights = replace(made, values={})
        shifts = measured_shifts(source, source, only_weights, seen, TRIALS, ONE_THREAD)
    rounded = with_weights(source, made)
    corrected = shift_biases(rounded, shifts)
    check(corrected)
    axis = 1 if "Conv" in LAYERS[what][1] else len(source.graph.inputs[0].shape or ()) - 1
    truth, before, after = (channel_means(model, seen, "c", axis) for model in (source, rounded, corrected))
    assert np.abs(before - truth).max() > 1e-3
    left = np.abs(after - truth).max() / np.abs(before - truth).max()
    # Means over the image are those under the kernel but for the border.
    assert left < (0.15 if way == "means" and "Conv" in LAYERS[what][1] else 1e-3)


def test_rounded_weights_are_what_the_shift_is_of() -> None:
    """After learned rounding W~ is what was learned, not what is nearest to W."""
    source = layer("Gemm")
    seen = drawn(source)
    made = planned(source, seen)
    step = made.weights["layer"].scale[None, :]
    changed = source.clone()
    moved = fake_quantize(weights(source, "layer"), made.weights["layer"])
    moved[4] -= np.sign(moved[4]) * step[0]
    replace_input(changed, node(changed, "layer"), 1, add_initializer(changed, "moved", moved))
    wanted = channel_means(source, seen, "x", 1) @ (weights(source, "layer").astype(np.float64) - moved)
    found = watched(source, seen)
    for shifts in (
        mean_shifts(source, changed, made, found),
        measured_shifts(source, changed, replace(made, values={}), seen, TRIALS, ONE_THREAD),
    ):
        np.testing.assert_allclose(shifts["layer"], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", ["means", "measured"])
def test_what_holds_no_bias_is_left_alone(way: str) -> None:
    """A product without an Add, a sum in four axes, whose channels nobody watches, and a layer kept in float."""
    source = network(
        """g (float[1,2,6,8] x) => (y, z) {
             [bare] a = MatMul(x, w)  p = Relu(a)  [four] m = MatMul(p, v)  c = Add(m, b)  y = Neg(c)
             [conv] d = Conv(x, u)  z = Neg(d) }""",
        w=(8, 6),
        v=(6, 6),
        b=(6,),
        u=(3, 2, 1, 1),
    )
    seen = samples(source, 4)
    made = planned(source, seen)
    assert set(made.weights) == {"bare", "four", "conv"}
    made = replace(made, weights={name: made.weights[name] for name in ("bare", "four")})
    if way == "means":
        assert mean_shifts(source, source, made, watched(source, seen)) == {}
    else:
        assert measured_shifts(source, source, made, seen, TRIALS, ONE_THREAD) == {}


def test_means_of_values_nobody_watched_are_not_invented() -> None:
    source = conv_relu_conv()
    seen = samples(source, 4)
    made, found = planned(source, seen), watched(source, seen)
    only = Statistics(found.model, found.samples, found.count, {"r1": found.values["r1"]})
    assert set(mean_shifts(source, source, made, only)) == {"conv2"}


@both
def test_the_measured_shift_is_what_rounding_moved_the_mean_by(engine: Engine) -> None:
    """By hand for the first convolution: E[W x - W~ Q(x)] over samples and positions, per output channel."""
    source = conv_relu_conv()
    seen = samples(source, 6)
    ranges = watched(source, seen).ranges("minmax", symmetric=False)
    made = plan(source, ranges, MINMAX, engine.capability)
    shifts = measured_shifts(source, source, made, seen, engine, ONE_THREAD)
    assert set(shifts) == set(made.weights) == {"conv1", "conv2"}
    truth = channel_means(source, seen, "c1", 1)
    rounded = [Sample(s.name, {"x": fake_quantize(s.inputs["x"], made.values["x"])}) for s in seen]
    moved = channel_means(with_weights(source, made), rounded, "c1", 1)
    np.testing.assert_allclose(shifts["conv1"], truth - moved, atol=1e-5 * np.abs(truth).max())
    assert np.abs(shifts["conv1"]).max() > 0


def test_shifted_biases_are_added_and_the_model_stays() -> None:
    source = conv_relu_conv()
    before = weights(source, "conv1", 2).copy()
    shift = np.arange(before.size, dtype=np.float32)
    shifted = shift_biases(source, {"conv1": shift})
    np.testing.assert_array_equal(weights(shifted, "conv1", 2), before + shift)
    np.testing.assert_array_equal(weights(source, "conv1", 2), before)
    np.testing.assert_array_equal(weights(shifted, "conv2", 2), weights(source, "conv2", 2))


def test_a_bias_behind_a_product_stays_behind_it() -> None:
    source = layer("Add and MatMul")
    shifted = shift_biases(source, {"layer": np.ones(7, np.float32)})
    held = bias_of(node(shifted, "layer"))
    assert held is not None
    assert held[0].op_type == "Add"
    assert len(node(shifted, "layer").inputs) == 2
    check(shifted)


@pytest.mark.parametrize("name", ["bias", "bias-measured"])
def test_the_workshop_shifts_every_layer(name: str) -> None:
    source = residual()
    seen = samples(source, 8)
    workshop = Workshop(TRIALS, bench(seen))
    plain = workshop.carry_out(source, watched(source, seen), MINMAX)
    made = workshop.carry_out(source, watched(source, seen), replace(MINMAX, corrections=(name,)))
    assert plain.corrected is source
    assert made.plan == plain.plan
    for layer_name in made.plan.weights:
        assert not np.array_equal(weights(made.corrected, layer_name, 2), weights(source, layer_name, 2))
        np.testing.assert_array_equal(weights(made.corrected, layer_name), weights(source, layer_name))
