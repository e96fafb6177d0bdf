"""What only moves values has one scale on both sides, and runs on the 8-bit numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from planning import ONNXRUNTIME, OPENVINO, output_db, planned

from fewbits.engines import Engine, Options
from fewbits.quantization.apply import apply
from models import check, f32, i64, network, node, samples

# These nets reach 36 to 40 dB in INT8.
INT8_DB = 33.0
C = 16
PADS = i64(0, 0, 1, 2, 0, 0, 2, 1)
MODES = ["", '<mode="reflect">', '<mode="edge">', '<mode="constant">']


def net(padded: str, first: str = "Relu(c)", **constants: np.ndarray) -> ir.Model:
    """A padding between two convolutions; without the Relu its zero point is not 0."""
    return network(
        f"""g (float[1,3,8,8] x) => (float[1,10] y) {{ [stem] c = Conv(x, w)  [first] r = {first}
             [pad] p = {padded}  [next] d = Conv(p, v)  [relu] e = Relu(d)  [tail] f = Conv(e, v)
             [mean] m = GlobalAveragePool(f)  [flat] s = Flatten(m)  [out] y = MatMul(s, u) }}""",
        w=(C, 3, 1, 1),
        v=(C, C, 3, 3),
        u=(C, 10),
        pads=PADS,
        **constants,
    )


def integers_reach(model: ir.Model, name: str) -> bool:
    source = node(model, name).inputs[0]
    return source is not None and source.dtype in (ir.DataType.UINT8, ir.DataType.INT8)


@pytest.mark.parametrize("first", ["Relu(c)", "Identity(c)"])
@pytest.mark.parametrize("mode", MODES)
def test_a_pad_moves_8_bit_numbers_and_gives_what_it_gave_in_float(mode: str, first: str) -> None:
    source = net(f"Pad{mode}(r, pads)", first)
    plan = planned(source, ONNXRUNTIME.capability)
    model, between = apply(source, plan), apply(source, replace(plan, on_integers=()))
    check(model)
    assert plan.on_integers == ("pad",)
    assert integers_reach(model, "pad")
    assert not integers_reach(between, "pad")
    sessions = [ONNXRUNTIME.compile(made, Options(threads=1)) for made in (model, between)]
    for sample in samples(source, 3):
        one, other = (session.run(sample.inputs)["y"] for session in sessions)
        np.testing.assert_array_equal(one, other)
    for engine in (ONNXRUNTIME, OPENVINO):  # one file is for both
        assert output_db(source, model, engine) > INT8_DB


def test_onnx_runtime_runs_it_in_8_bits() -> None:
    source = net("Pad(r, pads)")
    model = apply(source, planned(source, ONNXRUNTIME.capability))
    profile = ONNXRUNTIME.profile(model, Options(threads=1), dict(samples(source, 1)[0].inputs), runs=2)
    executed = {op.op: op.format for op in profile.ops}
    assert executed["Pad"] == "i8"
    assert "DequantizeLinear" not in [op.op for op in profile.ops[:-2]]


@pytest.mark.parametrize("filling", ["minus_three", "t"], ids=["not zero", "computed"])
def test_a_pad_that_fills_in_other_numbers_stays_float(filling: str) -> None:
    computed = "Relu(c)  [most] t = ReduceMax<keepdims=0>(c)"
    source = net(f"Pad(r, pads, {filling})", computed, minus_three=f32(-3).reshape(()))
    plan = planned(source, ONNXRUNTIME.capability)
    assert plan.on_integers == ()
    assert "of its own" in plan.skipped["pad"]
    model = apply(source, plan)
    check(model)
    assert output_db(source, model, ONNXRUNTIME) > INT8_DB


def test_a_zero_given_in_words_is_the_zero_point() -> None:
    source = net("Pad(r, pads, nought)", "Identity(c)", nought=f32(0).reshape(()))
    model = apply(source, planned(source, ONNXRUNTIME.capability))
    check(model)
    assert integers_reach(model, "pad")
    assert output_db(source, model, ONNXRUNTIME) > INT8_DB


@pytest.mark.parametrize("engine", [OPENVINO, ONNXRUNTIME], ids=lambda engine: engine.name)
def test_a_pad_that_is_a_model_output_stays_float(engine: Engine) -> None:
    source = network(
        """g (float[1,3,8,8] x) => (float[1,16,11,11] y, float[1,16,1,1] z) {
             [stem] r = Conv(x, w)  [pad] y = Pad(r, pads)
             [next] d = Conv(y, v)  [relu] e = Relu(d)  [tail] f = Conv(e, v)  [mean] z = GlobalAveragePool(f) }""",
        w=(C, 3, 1, 1),
        v=(C, C, 3, 3),
        pads=PADS,
    )
    model = apply(source, planned(source, engine.capability))
    check(model)
    assert output_db(source, model, engine) > INT8_DB


def resized(mode: str) -> ir.Model:
    corners = f32(0, 0, 0, 0, 1, 1, 1.5, 1.5)
    return net(f"Resize<{mode}>(r, corners, twice)", "Relu(c)", twice=f32(1, 1, 2, 2), corners=corners)


@pytest.mark.parametrize("engine", [OPENVINO, ONNXRUNTIME], ids=lambda engine: engine.name)
def test_the_nearest_number_is_taken_in_8_bits(engine: Engine) -> None:
    source = resized('mode="nearest"')
    plan = planned(source, engine.capability, r=(0.0, 3.0), p=(0.0, 2.0))
    assert "pad" in plan.integer
    assert len({float(plan.values[name].scale) for name in ("r", "p") if name in plan.values}) == 1
    model = apply(source, plan)
    check(model)
    assert output_db(source, apply(source, planned(source, engine.capability)), engine) > INT8_DB
    profile = engine.profile(model, Options(threads=1), dict(samples(source, 1)[0].inputs), runs=2)
    assert [op.format for op in profile.ops if op.op in ("Resize", "Interpolate")] == ["i8"]


@pytest.mark.parametrize("engine", [OPENVINO, ONNXRUNTIME], ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    "mode",
    ['mode="linear"', 'coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=2.0'],
    ids=["interpolated", "beyond the border"],
)
def test_what_makes_numbers_while_resizing_stays_float(engine: Engine, mode: str) -> None:
    source = resized(mode)
    plan = planned(source, engine.capability)
    assert "of its own" in plan.skipped["pad"]
    # OpenVINO knows no cropping; a plan of either engine runs on ONNX Runtime.
    assert output_db(source, apply(source, plan), ONNXRUNTIME) > INT8_DB


@pytest.mark.parametrize("function", ["Sigmoid(c)", "LeakyRelu(c)"])
def test_what_is_said_to_run_in_8_bits_on_onnx_runtime_does(function: str) -> None:
    source = net("Pad(r, pads)", function)
    plan = planned(source, ONNXRUNTIME.capability)
    assert "first" in plan.integer
    profile = ONNXRUNTIME.profile(apply(source, plan), Options(threads=1), dict(samples(source, 1)[0].inputs), runs=2)
    executed = {op.op: op.format for op in profile.ops}
    assert executed[f"QLinear{function.removesuffix('(c)')}"] == "i8"


def test_a_function_with_one_side_in_float_is_not_said_to_run_in_8_bits() -> None:
    source = network(
        """g (float[1,3,8,8] x) => (float[1,16,8,8] y) { [one] c = Conv(x, w)  [two] d = Conv(c, v)
             [last] y = Sigmoid(d) }""",
        w=(C, 3, 1, 1),
        v=(C, C, 1, 1),
    )
    assert "last" in planned(source, ONNXRUNTIME.capability).skipped


def test_a_concatenation_is_executed_in_8_bits_where_its_scale_is_a_float() -> None:
    source = net("Concat<axis=2>(r, r)")
    model = apply(source, planned(source, ONNXRUNTIME.capability))
    profile = ONNXRUNTIME.profile(model, Options(threads=1), dict(samples(source, 1)[0].inputs), runs=2)
    assert {op.format for op in profile.ops if op.op == "QLinearConcat"} == {"i8"}
