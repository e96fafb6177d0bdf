"""A quantized model holds the numbers ``numerics`` computes, and computes what FP32 does within 8 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from planning import MINMAX, ONNXRUNTIME, OPENVINO, output_db, planned, quantized, statistics

from fewbits.engines import ENGINES, Engine, Options
from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.numerics import QParams, fake_quantize, quantize
from fewbits.quantization.apply import apply
from fewbits.quantization.plan import plan
from fewbits.quantization.recipe import Recipe, Rule
from models import (
    check,
    conv_pool,
    conv_relu_conv,
    feed,
    i64,
    inverted_residual,
    network,
    node,
    perceptron,
    residual,
    two_outputs,
)

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)


@pytest.mark.parametrize("bits", [8, 7])
@pytest.mark.parametrize("build", [residual, inverted_residual, perceptron])
@both
def test_weights_are_symmetric_per_output_channel(engine: Engine, build, bits: int) -> None:
    source = build()
    made = planned(source, engine.capability, replace(MINMAX, weight_bits=bits))
    model = apply(source, made)
    assert made.weights
    limit = 127 if bits == 8 else 63
    for name, params in made.weights.items():
        original = queries.constant(node(source, name).inputs[1])
        axis = queries.weight_axis(node(source, name))
        assert params.axis == axis
        assert params.scale.shape == (original.shape[axis],)
        assert not params.zero_point.any()
        over = tuple(i for i in range(original.ndim) if i != axis)
        np.testing.assert_allclose(params.scale, np.abs(original).max(over) / limit, rtol=1e-6)
        dequantize = node(model, name).inputs[1].producer()
        assert dequantize.op_type == "DequantizeLinear"
        integers = queries.constant(dequantize.inputs[0])
        assert integers.dtype == np.int8
        np.testing.assert_array_equal(integers, quantize(original, params))
        assert np.abs(integers.astype(int)).max(over).tolist() == [limit] * original.shape[axis]
        step = params.scale.reshape([-1 if i == axis else 1 for i in range(original.ndim)])
        error = np.abs(fake_quantize(original, params) - original) / step
        assert 0.3 < error.max() <= 0.5 + 1e-4


def test_biases_are_int32_at_the_scale_of_the_products() -> None:
    source = residual()
    made = planned(source, ONNXRUNTIME.capability)
    model = apply(source, made)
    reads = {"stem": "x", "conv1": "r0", "conv2": "r1", "conv3": "r2", "fc": "f"}
    for name, activation in reads.items():
        dequantize = node(model, name).inputs[2].producer()
        integers, scale, zero = (queries.constant(value) for value in dequantize.inputs)
        assert integers.dtype == np.int32
        assert not zero.any()
        expected = made.values[activation].scale.astype(np.float64) * made.weights[name].scale
        np.testing.assert_array_equal(scale, expected.astype(np.float32))
        bias = queries.constant(node(source, name).inputs[2])
        np.testing.assert_array_equal(integers, np.rint(bias.astype(np.float64) / scale))
    assert node(apply(source, planned(source, OPENVINO.capability)), "conv1").inputs[2].is_initializer()


def test_activations_use_all_of_uint8_around_an_exact_zero() -> None:
    source = residual()
    found, made = statistics(source, ONNXRUNTIME.capability), planned(source, ONNXRUNTIME.capability)
    for name in ("x", "r0", "c2"):
        low = min(0.0, float(found.values[name].minimum.min()))
        high = float(found.values[name].maximum.max())
        params = made.values[name]
        assert params.format.name == "uint8"
        assert float(params.scale) == pytest.approx((high - low) / 255, rel=1e-6)
        assert abs(int(params.zero_point) + low / float(params.scale)) <= 0.5 + 1e-3
    assert int(made.values["r0"].zero_point) == 0
    assert int(made.values["x"].zero_point) > 0
    signed = replace(ONNXRUNTIME.capability, signed_symmetric=True)
    ranges = found.ranges("minmax", symmetric=True)
    values = plan(source, ranges, MINMAX, signed).values
    assert (values["x"].format.name, int(values["x"].zero_point)) == ("int8", 0)
    assert values["r0"].format.name == "uint8"


def test_building_leaves_the_fp32_model_as_it_is_and_shares_its_weights() -> None:
    source = residual()
    made = planned(
        source, OPENVINO.capability, Recipe(method="minmax", rules=(Rule("*", "int8"), Rule("conv1", "float")))
    )
    before = ir.to_proto(source).SerializeToString()
    model = apply(source, made)
    assert ir.to_proto(source).SerializeToString() == before
    for name in ("w1", "b1", "b2"):
        assert model.graph.initializers[name].const_value is source.graph.initializers[name].const_value
    assert not any(name in model.graph.initializers for name in ("w0", "w2", "w3", "wf"))


def test_a_value_without_a_range_is_named() -> None:
    with pytest.raises(ValueError, match="no range was collected for x"):
        plan(conv_relu_conv(), {}, MINMAX, OPENVINO.capability)


# Eight bits leave about 40 dB a layer; a few layers of these nets stay above 25. Doubling one scale: 0 to 10.
INT8_DB = 25.0


NETS = pytest.mark.parametrize("build", [conv_pool, residual, two_outputs], ids=lambda build: build.__name__)


@NETS
@both
def test_int8_stays_close_to_fp32(engine: Engine, build) -> None:
    source = build()
    assert output_db(source, quantized(source, engine), engine) > INT8_DB


@pytest.mark.parametrize("where", ["an activation", "the weights"])
@NETS
@both
def test_a_doubled_scale_is_not_close(engine: Engine, build, where: str) -> None:
    source = build()
    made = planned(source, engine.capability)

    def doubled(params: QParams) -> QParams:
        return replace(params, scale=params.scale * np.float32(2))

    model = apply(source, made)
    table = made.values if where == "an activation" else made.weights
    name = "x" if where == "an activation" else next(iter(made.weights))
    # Only the dequantizer is wrong, as if the two had been given different parameters.
    broken = apply(source, made)
    quantizer = next(n for n in broken.graph if n.op_type == "DequantizeLinear" and _stands_for(n, source, name))
    wrong = doubled(table[name])
    broken.graph.register_initializer(
        ir.Value(name="wrong", const_value=ir.tensor(wrong.scale, name="wrong"), shape=ir.Shape(wrong.scale.shape))
    )
    quantizer.replace_input_with(1, broken.graph.initializers["wrong"])
    assert output_db(source, model, engine) > INT8_DB
    assert output_db(source, broken, engine) < INT8_DB


def _stands_for(dequantize: ir.Node, source: ir.Model, name: str) -> bool:
    produced = dequantize.outputs[0].name
    if any(n.name == name for n in source.graph):
        return produced == f"{node(source, name).inputs[1].name}_quantized_dequantized"
    return produced == f"{name}_dequantized"


def test_a_channel_that_died_in_training_does_not_stop_the_build() -> None:
    """Weight decay leaves channels of 1e-36; their scale times the input's is below FP32's normal numbers."""
    source = conv_relu_conv()
    weights = source.graph.initializers["w1"].const_value.numpy().copy()
    weights[3] *= np.float32(1e-35) / np.abs(weights[3]).max()
    source.graph.initializers["w1"].const_value = ir.tensor(weights, name="w1")
    bias = source.graph.initializers["b1"].const_value.numpy().copy()
    bias[3] = 0
    source.graph.initializers["b1"].const_value = ir.tensor(bias, name="b1")
    model = quantized(source, ONNXRUNTIME)
    check(model)
    assert output_db(source, model, ONNXRUNTIME) > INT8_DB


def test_a_dead_channel_with_a_bias_keeps_its_convolution_in_int8() -> None:
    source = conv_relu_conv()
    weights = source.graph.initializers["w1"].const_value.numpy().copy()
    weights[3] *= np.float32(1e-12)
    source.graph.initializers["w1"].const_value = ir.tensor(weights, name="w1")
    made = planned(source, ONNXRUNTIME.capability)
    assert output_db(source, apply(source, made), ONNXRUNTIME) > INT8_DB
    profile = ONNXRUNTIME.profile(apply(source, made), Options(), feed(source))
    kernels = [op.format for op in profile.ops if op.op in ("Conv", "QLinearConv")]
    assert kernels.count("i8") == sum(name in made.integer for name in ("conv1", "conv2"))


@both
def test_a_constant_with_two_readers_is_quantized_for_each(engine: Engine) -> None:
    source = network(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
             [one] a = Conv<pads=[1,1,1,1]>(x, w, b)  [relu] r = Relu(a)
             [two] c = Conv<pads=[1,1,1,1]>(r, w, b)  [out] y = Sigmoid(c) }""",
        w=(3, 3, 3, 3),
        b=(3,),
    )
    model = quantized(source, engine)
    check(model)
    names = [node_name(n) for n in model.graph]
    assert len(set(names)) == len(names)
    assert output_db(source, model, engine) > INT8_DB


@both
def test_channels_shuffled_and_split_pass_eight_bits_on(engine: Engine) -> None:
    source = network(
        """g (float[1,4,6,6] x) => (float[1,4,6,6] y) {
             [stem] c = Conv(x, w1)  [relu] r = Relu(c)
             [group] g = Reshape(r, s1)  [swap] t = Transpose<perm=[0,2,1,3,4]>(g)  [join] j = Reshape(t, s2)
             [split] u, v = Split<axis=1>(j, s3)
             [left] l = Conv<pads=[1,1,1,1]>(u, w2)  [relu_l] rl = Relu(l)
             [concat] k = Concat<axis=1>(rl, v)
             [last] o = Conv(k, w3)  [out] y = Sigmoid(o) }""",
        w1=(8, 4, 1, 1),
        w2=(4, 4, 3, 3),
        w3=(4, 8, 1, 1),
        s1=i64(1, 2, 4, 6, 6),
        s2=i64(1, 8, 6, 6),
        s3=i64(4, 4),
    )
    made = planned(source, engine.capability)
    assert set(made.weights) == {"stem", "left", "last"}
    moved = {made.values[name] for name in ("r", "g", "t", "j", "u", "v", "rl", "k") if name in made.values}
    assert len(moved) == 1
    model = apply(source, made)
    check(model)
    assert output_db(source, model, engine) > INT8_DB
