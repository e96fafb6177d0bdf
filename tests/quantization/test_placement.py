"""Quantizers stand where the engines' integer kernels want them, and every node has its format or its reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from planning import planned, quantized, statistics

from fewbits.engines import ENGINES, Engine, Options
from fewbits.graph import qdq
from fewbits.graph.ops import Role, role
from fewbits.graph.quantized import is_quantized
from fewbits.quantization.apply import apply
from fewbits.quantization.recipe import Recipe, Rule
from models import (
    NETWORKS,
    branches,
    check,
    conv_pool,
    conv_relu_conv,
    detector,
    feed,
    inverted_residual,
    node,
    on_onnxruntime,
    oracle,
    perceptron,
    residual,
    swish,
)

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)

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
    made = planned(build(), engine.capability)
    assert set(made.values) == wanted
    model = apply(build(), made)
    check(model)
    assert set(qdq.quantized_values(model)) == wanted


@both
def test_the_convolution_that_feeds_a_residual_add(engine: Engine) -> None:
    """A sum runs in integers where both of its operands are in 8 bits."""
    made = planned(residual(), engine.capability)
    assert "c2" in made.values
    assert "add" in made.integer


@pytest.mark.parametrize(
    ("build", "groups"),
    [(branches, [{"rl", "rr", "j", "p"}]), (conv_pool, [{"r", "p"}]), (residual, [{"p", "f"}])],
    ids=["concat and pool", "pool", "flatten"],
)
@both
def test_values_that_only_move_share_one_scale(engine: Engine, build, groups: list[set[str]]) -> None:
    made = planned(build(), engine.capability)
    for group in groups:
        scales = {made.values[name] for name in group & set(made.values)}
        assert len(scales) == 1
    if build is branches:  # the hull of both sides: the wider one does not saturate
        found = statistics(build(), engine.capability).values
        widest = max(float(found[name].maximum.max()) for name in ("rl", "rr"))
        assert float(made.values["rl"].scale) == pytest.approx(widest / 255, rel=1e-6)
        assert found["rl"].maximum.max() != found["rr"].maximum.max()


@pytest.mark.parametrize("name", NETWORKS)
@both
def test_every_node_is_int8_or_says_why_not(engine: Engine, name: str) -> None:
    source = NETWORKS[name]()
    made = planned(source, engine.capability)
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
    made = planned(source, engine.capability)
    profile = engine.profile(apply(source, made), Options(), feed(source))
    float_kernels = sorted(op.name for op in profile.ops if op.op in ("Conv", "Convolution") and op.format != "i8")
    float_nodes = [n.name for n in source.graph if n.op_type == "Conv" and n.name not in made.integer]
    assert len(float_kernels) == len(float_nodes), float_kernels
    assert profile.shares()["i8"] > 0


@both
def test_fully_connected_layers_execute_int8(engine: Engine) -> None:
    source = perceptron()
    profile = engine.profile(quantized(source, engine), Options(), feed(source))
    assert profile.shares()["i8"] > 0


@both
def test_a_detection_head_is_left_alone(engine: Engine) -> None:
    made = planned(detector(), engine.capability)
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
    made = planned(source, engine.capability, recipe)
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
        assert not is_quantized(model)
        np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-5)


def test_the_last_matching_rule_wins() -> None:
    recipe = Recipe(rules=(Rule("*", "int8"), Rule("Conv", "float"), Rule("conv1", "int8")))
    assert [recipe.choice(name, "Conv")[0] for name in ("conv1", "conv2")] == ["int8", "float"]
    assert recipe.choice("fc", "Gemm")[0] == "int8"
    assert Recipe(rules=()).choice("fc", "Gemm") == ("float", "no rule of the recipe names it")


@both
def test_a_recipe_keeps_sums_and_pools_in_float_as_well(engine: Engine) -> None:
    plain = planned(residual(), engine.capability)
    kept = planned(
        residual(), engine.capability, Recipe(rules=(Rule("*", "int8"), Rule("Add", "float"), Rule("gap", "float")))
    )
    assert {"add", "gap"} <= set(plain.integer)
    assert not {"add", "gap"} & set(kept.integer)
    assert "'Add'" in kept.skipped["add"]
    assert "c2" in plain.values
    unrounded = {"c2"} if engine.name == "openvino" else set()  # ONNX Runtime's convolutions write 8 bits only
    assert not unrounded & set(kept.values)
    check(apply(residual(), kept))
