"""Quantizers stand where the engines' integer kernels want them, and hold the numbers ``numerics`` computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.calibration.collect import collect
from fewbits.calibration.statistics import Statistics
from fewbits.engines import ENGINES, Engine, Options
from fewbits.graph import qdq, queries
from fewbits.graph.ops import Role, role
from fewbits.graph.queries import node_name
from fewbits.numerics import NoiseSum, QParams, fake_quantize, quantize
from fewbits.quantization.apply import apply
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.plan import QuantPlan, plan
from fewbits.quantization.recipe import Recipe, Rule
from models import (
    NETWORKS,
    branches,
    check,
    conv_pool,
    conv_relu_conv,
    detector,
    feed,
    i64,
    inverted_residual,
    network,
    node,
    on_onnxruntime,
    oracle,
    perceptron,
    residual,
    samples,
    swish,
    two_outputs,
)

MINMAX = Recipe(method="minmax")
both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
OPENVINO, ONNXRUNTIME = ENGINES["openvino"], ENGINES["onnxruntime"]


def statistics(model: ir.Model) -> Statistics:
    names = values_to_watch(model, MINMAX, [engine.capability for engine in ENGINES.values()])
    return collect(model, names, samples(model, 8), 8, ONNXRUNTIME, Options(threads=1))


def planned(model: ir.Model, engine: Engine, recipe: Recipe = MINMAX) -> QuantPlan:
    capability = engine.capability
    ranges = statistics(model).ranges("minmax", symmetric=capability.signed_symmetric)
    return plan(model, ranges, recipe, capability)


def quantized_for(model: ir.Model, engine: Engine, recipe: Recipe = MINMAX) -> ir.Model:
    return apply(model, planned(model, engine, recipe))


# Where quantizers stand: network → engine → the values that carry one.
PLACES = {
    conv_relu_conv: {"openvino": "x r1", "onnxruntime": "x r1 c2"},
    conv_pool: {"openvino": "x r", "onnxruntime": "x r p q"},
    residual: {"openvino": "x r0 r1 c2 r2 r3 p", "onnxruntime": "x r0 r1 c2 r2 r3 p f"},
    inverted_residual: {"openvino": "x s k1 k2 p a", "onnxruntime": "x s k1 k2 p a h"},
    branches: {"openvino": "x rl rr", "onnxruntime": "x rl rr j p o"},
    swish: {"openvino": "x m", "onnxruntime": "x c g m o"},
    perceptron: {"openvino": "x r", "onnxruntime": "x f r"},
    detector: {"openvino": "x r", "onnxruntime": "x r b s"},
}


@pytest.mark.parametrize("build", PLACES, ids=lambda build: build.__name__)
@both
def test_quantizers_stand_where_the_kernels_want_them(engine: Engine, build) -> None:
    wanted = set(PLACES[build][engine.name].split())
    made = planned(build(), engine)
    assert set(made.values) == wanted
    model = apply(build(), made)
    check(model)
    assert set(qdq.quantized_values(model)) == wanted


@both
def test_the_convolution_that_feeds_a_residual_add(engine: Engine) -> None:
    """A sum runs in integers where both of its operands are in 8 bits."""
    made = planned(residual(), engine)
    assert "c2" in made.values
    assert "add" in made.integer


@pytest.mark.parametrize(
    ("build", "groups"),
    [(branches, [{"rl", "rr", "j", "p"}]), (conv_pool, [{"r", "p"}]), (residual, [{"p", "f"}])],
    ids=["concat and pool", "pool", "flatten"],
)
@both
def test_values_that_only_move_share_one_scale(engine: Engine, build, groups: list[set[str]]) -> None:
    made = planned(build(), engine)
    for group in groups:
        scales = {made.values[name] for name in group & set(made.values)}
        assert len(scales) == 1
    if build is branches:  # the hull of both sides: the wider one does not saturate
        found = statistics(build()).values
        widest = max(float(found[name].maximum.max()) for name in ("rl", "rr"))
        assert float(made.values["rl"].scale) == pytest.approx(widest / 255, rel=1e-6)
        assert found["rl"].maximum.max() != found["rr"].maximum.max()


@pytest.mark.parametrize("name", NETWORKS)
@both
def test_every_node_is_int8_or_says_why_not(engine: Engine, name: str) -> None:
    source = NETWORKS[name]()
    made = planned(source, engine)
    model = apply(source, made)
    for original in source.graph:
        found = node(model, original.name)
        level, reason = found.metadata_props.get(qdq.LEVEL_KEY), found.metadata_props.get(qdq.REASON_KEY)
        assert (level == "I8") != bool(reason), original.name
        assert (original.name in made.integer) == (level == "I8")
        assert reason is None or len(reason) > 15


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "perceptron"])
@both
def test_what_is_called_int8_is_executed_in_int8(engine: Engine, name: str) -> None:
    """Held against the engine's own profile: no convolution with the mark I8 runs in floating point."""
    source = NETWORKS[name]()
    made = planned(source, engine)
    profile = engine.profile(apply(source, made), Options(), feed(source))
    float_kernels = sorted(op.name for op in profile.ops if op.op in ("Conv", "Convolution") and op.format != "i8")
    float_nodes = [n.name for n in source.graph if n.op_type == "Conv" and n.name not in made.integer]
    assert len(float_kernels) == len(float_nodes), float_kernels
    assert profile.shares()["i8"] > 0


@both
def test_fully_connected_layers_execute_int8(engine: Engine) -> None:
    source = perceptron()
    profile = engine.profile(quantized_for(source, engine), Options(), feed(source))
    assert profile.shares()["i8"] > 0


@both
def test_a_detection_head_is_left_alone(engine: Engine) -> None:
    made = planned(detector(), engine)
    assert not set(made.values) & {"br", "sr", "p", "h", "y"}
    assert "head" in made.skipped
    assert {"boxes", "scores"} <= set(made.weights)
    assert not made.skipped.keys() & {"boxes", "scores", "trunk"}


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        (["conv1"], {"conv1"}),
        (["conv?"], {"conv1", "conv2", "conv3"}),
        (["Gemm", "stem"], {"fc", "stem"}),
        (["*"], {"stem", "conv1", "conv2", "conv3", "fc"}),
    ],
)
@both
def test_keep_float_globs_are_honoured_with_their_reason(engine: Engine, globs: list[str], kept: set[str]) -> None:
    recipe = Recipe(method="minmax", rules=(Rule("*", "int8"), *(Rule(glob, "float") for glob in globs)))
    source = residual()
    made = planned(source, engine, recipe)
    compute = {n.name for n in source.graph if role(n.op_type) is Role.COMPUTE}
    assert set(made.weights) == compute - kept
    for name in kept:
        assert any(f"'{glob}'" in made.skipped[name] for glob in globs)
    model = apply(source, made)
    for name in kept:
        assert node(model, name).inputs[1].is_initializer()
        assert node(model, name).inputs[1].dtype == ir.DataType.FLOAT
    truth = oracle(source, feed(source))["y"]
    got = on_onnxruntime(model, feed(source))["y"]
    if globs == ["*"]:
        assert not qdq.is_quantized(model)
        np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-5)


def test_the_last_matching_rule_wins() -> None:
    recipe = Recipe(rules=(Rule("*", "int8"), Rule("Conv", "float"), Rule("conv1", "int8")))
    assert [recipe.choice(name, "Conv")[0] for name in ("conv1", "conv2")] == ["int8", "float"]
    assert recipe.choice("fc", "Gemm")[0] == "int8"
    assert Recipe(rules=()).choice("fc", "Gemm") == ("float", "no rule of the recipe names it")


@pytest.mark.parametrize("bits", [8, 7])
@pytest.mark.parametrize("build", [residual, inverted_residual, perceptron])
@both
def test_weights_are_symmetric_per_output_channel(engine: Engine, build, bits: int) -> None:
    source = build()
    made = planned(source, engine, replace(MINMAX, weight_bits=bits))
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
    made = planned(source, ONNXRUNTIME)
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
    assert node(apply(source, planned(source, OPENVINO)), "conv1").inputs[2].is_initializer()


def test_activations_use_all_of_uint8_around_an_exact_zero() -> None:
    source = residual()
    found, made = statistics(source), planned(source, ONNXRUNTIME)
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
    made = planned(source, OPENVINO, Recipe(method="minmax", rules=(Rule("*", "int8"), Rule("conv1", "float"))))
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


def output_db(source: ir.Model, model: ir.Model, engine: Engine) -> float:
    noise = NoiseSum()
    session = engine.compile(model, Options())
    for sample in samples(source, 8):
        for name, truth in oracle(source, dict(sample.inputs)).items():
            noise.add(truth, session.run(sample.inputs)[name])
    return noise.sqnr_db


NETS = pytest.mark.parametrize("build", [conv_pool, residual, two_outputs], ids=lambda build: build.__name__)


@NETS
@both
def test_int8_stays_close_to_fp32(engine: Engine, build) -> None:
    source = build()
    assert output_db(source, quantized_for(source, engine), engine) > INT8_DB


@pytest.mark.parametrize("where", ["an activation", "the weights"])
@NETS
@both
def test_a_doubled_scale_is_not_close(engine: Engine, build, where: str) -> None:
    source = build()
    made = planned(source, engine)

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
    model = quantized_for(source, ONNXRUNTIME)
    check(model)
    assert output_db(source, model, ONNXRUNTIME) > INT8_DB


def test_a_dead_channel_with_a_bias_keeps_its_convolution_in_int8() -> None:
    source = conv_relu_conv()
    weights = source.graph.initializers["w1"].const_value.numpy().copy()
    weights[3] *= np.float32(1e-12)
    source.graph.initializers["w1"].const_value = ir.tensor(weights, name="w1")
    made = planned(source, ONNXRUNTIME)
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
    model = quantized_for(source, engine)
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
    made = planned(source, engine)
    assert set(made.weights) == {"stem", "left", "last"}
    moved = {made.values[name] for name in ("r", "g", "t", "j", "u", "v", "rl", "k") if name in made.values}
    assert len(moved) == 1
    model = apply(source, made)
    check(model)
    assert output_db(source, model, engine) > INT8_DB


@both
def test_a_recipe_keeps_sums_and_pools_in_float_as_well(engine: Engine) -> None:
    plain = planned(residual(), engine)
    kept = planned(residual(), engine, Recipe(rules=(Rule("*", "int8"), Rule("Add", "float"), Rule("gap", "float"))))
    assert {"add", "gap"} <= set(plain.integer)
    assert not {"add", "gap"} & set(kept.integer)
    assert "'Add'" in kept.skipped["add"]
    assert "c2" in plain.values
    unrounded = {"c2"} if engine.name == "openvino" else set()  # ONNX Runtime's convolutions write 8 bits only
    assert not unrounded & set(kept.values)
    check(apply(residual(), kept))
