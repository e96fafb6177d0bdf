"""Transformers in INT8: attention where that is faster, Linear however it is spelled, the rest with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import attention_nets as nets
import numpy as np
import onnx_ir as ir
import pytest
from planning import MINMAX, ONNXRUNTIME, OPENVINO, output_db, planned, quantized

from fewbits.engines import ENGINES, Engine, Options
from fewbits.graph import qdq, queries
from fewbits.graph.ops import Role, role
from fewbits.quantization.apply import apply
from fewbits.quantization.linear import multiplies_activations
from fewbits.quantization.recipe import Rule
from models import check, feed, node, on_onnxruntime, oracle

NO_ATTENTION = replace(MINMAX, rules=(Rule("*", "int8"), Rule("scores*", "float"), Rule("mix*", "float")))
both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
transformers = pytest.mark.parametrize("build", [nets.post_norm, nets.pre_norm], ids=lambda build: build.__name__)
BLOCKS = range(nets.BLOCKS)


def names(*kinds: str) -> set[str]:
    """``q{}`` → q0, q1: one of each block."""
    return {kind.format(i) for kind in kinds for i in BLOCKS}


# Where quantizers stand: network → engine → the values of each block that carry one, and those outside of blocks.
# ONNX Runtime has Q/DQ on both sides of what moves values.
PLACES = {
    nets.post_norm: {
        "openvino": (
            "q{}_out k{}_out v{}_out p{} m{} norm{}_out g{}",
            "x0 norm_mlp0_out p",
        ),
        "onnxruntime": (
            "t{} x{} m{} mt{} merged{} norm{}_out g{}",
            "norm_mlp0_out p",
        ),
    },
    nets.pre_norm: {
        "openvino": ("norm{}_out q{} k{} v{} p{} m{} norm_mlp{}_out g{}", "p"),
        "onnxruntime": ("norm{}_out m{} mt{} merged{} norm_mlp{}_out g{}", "p"),
    },
}


@transformers
@both
def test_quantizers_stand_where_the_kernels_want_them(engine: Engine, build) -> None:
    inside, outside = PLACES[build][engine.name]
    source = build()
    made = planned(source, engine.capability)
    assert set(made.values) == names(*inside.split()) | set(outside.split())
    model = apply(source, made)
    check(model)
    assert set(qdq.quantized_values(model)) == set(made.values)


@transformers
@both
def test_all_products_run_in_int8_and_the_rest_says_why_not(engine: Engine, build) -> None:
    """ONNX Runtime multiplies two activations no faster in INT8: there attention stays in float, and says so."""
    source, attention = build(), names("scores{}", "mix{}")
    made = planned(source, engine.capability)
    for original in source.graph:
        name = queries.node_name(original)
        assert (name in made.integer) != (name in made.skipped), name
        if name in attention and engine is ONNXRUNTIME:
            assert "no speed" in made.skipped[name]
        elif role(original.op_type) is Role.COMPUTE:
            assert name in made.integer
        elif original.op_type in ("Softmax", "LayerNormalization", "Gelu", "Erf", "Div", "Sqrt", "Pow", "ReduceMean"):
            assert name in made.skipped
    model = apply(source, made)
    for name, reason in made.skipped.items():
        assert node(model, name).metadata_props[qdq.REASON_KEY] == reason
    assert not attention & set(made.weights)


REASONS = {
    "softmax0": "exponentials",
    "norm0": "normalisation",
    "norm1_mean": "square root of a variance",
    "norm1_positive": "square root of a variance",
    "norm1_shift": "square root of a variance",
    "inner0": "GELU",
    "plus1": "GELU",
    "times1": "GELU",
    "halve0": "GELU",
    "halve1": "GELU",
    "scale0": "division",
    "pool": "mean",
}


@both
def test_reasons_are_sentences_about_the_operator(engine: Engine) -> None:
    skipped = planned(nets.post_norm(), engine.capability).skipped
    for name, words in REASONS.items():
        assert words in skipped[name], name
    for name in names("residual{}", "residual_mlp{}"):
        assert "8 bits" in skipped[name]


@transformers
def test_onnxruntime_executes_every_layer_in_int8(build) -> None:
    source = build()
    profile = ONNXRUNTIME.profile(quantized(source, ONNXRUNTIME), Options(threads=1), feed(source), runs=3)
    kernels = Counter((op.op, op.format) for op in profile.ops if "Gemm" in op.op or "MatMul" in op.op)
    layers = sum(n.op_type in ("Gemm", "MatMul") and not multiplies_activations(n) for n in source.graph)
    assert kernels == {
        ("QGemm", "i8"): layers,
        ("FusedMatMul", "f32"): nets.BLOCKS,
        ("MatMul", "f32"): nets.BLOCKS,
    }


@transformers
def test_openvino_executes_every_product_in_int8(build) -> None:
    """Attention is one kernel where the processor has one for it (a subgraph), else two MatMuls."""
    source = build()
    layers = sum(n.op_type in ("Gemm", "MatMul") and not multiplies_activations(n) for n in source.graph)
    attention = {}
    for recipe in (MINMAX, NO_ATTENTION):
        model = quantized(source, OPENVINO, recipe)
        profile = OPENVINO.profile(model, Options(threads=1), feed(source), runs=3)
        kernels = Counter((op.op, op.format) for op in profile.ops)
        assert kernels["FullyConnected", "i8"] == layers
        assert kernels["FullyConnected", "f32"] == 0
        attention[recipe] = kernels["Subgraph", "i8"] + kernels["MatMul", "i8"]
        assert recipe is NO_ATTENTION or kernels["MatMul", "f32"] == 0
    assert attention[MINMAX] >= nets.BLOCKS
    assert attention[NO_ATTENTION] == 0


@both
def test_written_out_functions_stay_in_one_piece(engine: Engine) -> None:
    """No quantizer stands inside them: the engine finds GELU and the normalisation again, and fuses them."""
    source = nets.post_norm()
    profile = engine.profile(quantized(source, engine), Options(threads=1), feed(source), runs=3)
    executed = Counter(op.op for op in profile.ops)
    assert not {"Erf", "Pow", "Sqrt", "Sub"} & set(executed)
    if engine is ONNXRUNTIME:
        assert executed["Gelu"] == nets.BLOCKS
        assert executed["LayerNormalization"] == 2 * nets.BLOCKS + 1


def test_queries_keys_and_values_of_one_projection_have_their_own_scales() -> None:
    source = nets.pre_norm()
    for name in ("w_qkv0", "b_qkv0"):
        array = source.graph.initializers[name].const_value.numpy().copy()
        array[..., -nets.WIDTH :] *= np.float32(0.05)
        source.graph.initializers[name].const_value = ir.tensor(array, name=name)
    made = planned(source, OPENVINO.capability)
    assert float(made.values["v0"].scale) < 0.2 * min(float(made.values[n].scale) for n in ("q0", "k0"))
    assert "split0" in made.skipped


@both
def test_float_readers_of_a_float_result_read_it_unrounded(engine: Engine) -> None:
    """The residual sum reads what the normalisation made; only the layer behind it reads 8 bits."""
    model = quantized(nets.post_norm(), engine)
    check(model)
    assert "norm0_out" in {v.name for v in node(model, "residual_mlp0").inputs}
    assert node(model, "up0").inputs[0].name == "norm0_out_dequantized"


# On the samples they were calibrated on (nothing is clipped) these two blocks reach 37 to 40 dB on both engines. With
# any one scale doubled at most 23 are left: queries and keys, which softmax forgives most, 19 to 23, others below 16.
INT8_DB = 30.0
ONE_OF_EACH = {
    nets.post_norm: "q1_out k1_out p0 v0_out m0 g1 norm0_out p w_proj1_quantized",
    nets.pre_norm: "q1 k1 p0 v0 m0 g1 norm0_out p w_proj1_quantized",
}
OPERANDS = ("q1_out", "k1_out", "v0_out", "q1", "k1", "v0", "p0")  # of attention


@transformers
@both
def test_int8_stays_close_to_fp32_and_a_doubled_scale_does_not(engine: Engine, build) -> None:
    source = build()
    made = planned(source, engine.capability)
    assert output_db(source, apply(source, made), engine) > INT8_DB
    for name in (name for name in ONE_OF_EACH[build].split() if engine is OPENVINO or name not in OPERANDS):
        broken = apply(source, made)
        _double(broken, name)
        assert output_db(source, broken, engine) < INT8_DB - 5, name


def _double(model: ir.Model, name: str) -> None:
    """As if quantizer and dequantizer had been given different parameters."""
    (dequantize,) = (n for n in model.graph if n.outputs[0].name == f"{name}_dequantized")
    scale = queries.constant(dequantize.inputs[1]) * np.float32(2)
    wrong = ir.Value(name="wrong", const_value=ir.tensor(scale, name="wrong"), shape=ir.Shape(scale.shape))
    model.graph.register_initializer(wrong)
    dequantize.replace_input_with(1, wrong)


@transformers
def test_the_networks_are_what_both_engines_compute(build) -> None:
    """The ruler itself: the network in FP32 is the same on the reference evaluator and on an engine."""
    source = build()
    inputs = feed(source)
    np.testing.assert_allclose(on_onnxruntime(source, inputs)["y"], oracle(source, inputs)["y"], rtol=1e-3, atol=1e-4)
