"""One product of two activations, one Linear layer: what each engine's integer kernel takes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import attention_nets as nets
import numpy as np
import onnx_ir as ir
import pytest
from planning import MINMAX, ONNXRUNTIME, OPENVINO, output_db, planned, quantized

from fewbits.engines import ENGINES, Capability, Engine, Options
from fewbits.graph import queries
from fewbits.quantization.apply import apply
from fewbits.quantization.placement import place
from models import Array, f32, feed, i64, network, node

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)


def product(left: str = "", right: str = "") -> ir.Model:
    """Two inputs and the MatMul that multiplies them, each behind an operator of its own if one is named."""
    return network(
        f"""g (float[1,2,48,32] a, float[1,2,32,48] b) => (float[1,2,48,48] y) {{
             [left] l = {left or "Neg"}(a)  [right] r = {right or "Neg"}(b)  [product] y = MatMul(l, r) }}"""
    )


@pytest.mark.parametrize("left", ["", "Softmax"])
@both
def test_a_product_of_activations_executes_int8_where_it_is_faster(engine: Engine, left: str) -> None:
    source = product(left)
    profile = engine.profile(quantized(source, engine), Options(threads=1), feed(source), runs=3)
    wanted = "i8" if engine is OPENVINO else "f32"
    assert [op.format for op in profile.ops if "MatMul" in op.op] == [wanted]


def test_openvino_would_multiply_in_floats_if_an_operand_had_a_zero_point() -> None:
    """What ``moving_centred`` says of its kernel, seen in its profile."""
    source = product()
    made = planned(source, replace(OPENVINO.capability, moving_centred=False))
    assert all(params.format.name == "uint8" and params.zero_point > 0 for params in made.values.values())
    profile = OPENVINO.profile(apply(source, made), Options(threads=1), feed(source), runs=3)
    assert [op.format for op in profile.ops if op.op == "MatMul"] == ["f32"]


def test_operands_are_what_the_kernel_takes() -> None:
    """No zero points, the second one signed even if it is never negative; without that need, all of UINT8."""
    source = product("Softmax", "Softmax")
    wanted = {True: {"l": "uint8", "r": "int8"}, False: {"l": "uint8", "r": "uint8"}}
    for centred, formats in wanted.items():
        made = planned(source, replace(OPENVINO.capability, moving_centred=centred), l=(0.0, 1.0), r=(0.0, 0.5))
        assert {v: p.format.name for v, p in made.values.items()} == formats
        assert not any(p.zero_point for p in made.values.values())
        assert float(made.values["l"].scale) == pytest.approx(1 / 255)
        assert float(made.values["r"].scale) == pytest.approx(0.5 / (127 if centred else 255))
    made = planned(product(), OPENVINO.capability, l=(-3.0, 1.0), r=(-1.0, 2.0))
    assert {v: (p.format.name, int(p.zero_point)) for v, p in made.values.items()} == {
        "l": ("int8", 0),
        "r": ("int8", 0),
    }
    assert float(made.values["l"].scale) == pytest.approx(3 / 127)


def test_the_operand_in_the_weights_place_has_the_weights_bits() -> None:
    """Where products of 8 bits saturate, weights have 7; so has what stands in their place."""
    made = planned(product(), OPENVINO.capability, replace(MINMAX, weight_bits=7), l=(-1.0, 1.0), r=(-1.0, 1.0))
    assert float(made.values["r"].scale) == pytest.approx(1 / 63)
    assert float(made.values["l"].scale) == pytest.approx(1 / 127)


def refused(text: str, capability: Capability, **weights: Array | tuple[int, ...]) -> str:
    return place(network(text, **weights), MINMAX, capability).skipped["m"]


@both
def test_products_without_a_kernel_say_so(engine: Engine) -> None:
    capability = engine.capability
    activations = "g (float[2,3] a, float[3,4] b) => (float[2,4] y) { [m] y = MatMul(a, b) }"
    assert "needs constant" in refused(
        activations, replace(capability, moving=frozenset(), moving_no_faster=frozenset())
    )
    assert "no speed" in refused(activations, ONNXRUNTIME.capability)
    assert "m" not in place(network(activations), MINMAX, OPENVINO.capability).skipped
    left = "g (float[3,4] b) => (float[2,4] y) { [m] y = MatMul(w, b) }"
    assert "on the left" in refused(left, capability, w=(2, 3))
    convolution = "g (float[1,3,4,4] a, float[2,3,1,1] b) => (float[1,2,4,4] y) { [m] y = Conv(a, b) }"
    assert "needs constant" in refused(convolution, capability)
    gemm = "g (float[2,3] a) => (float[2,4] y) { [m] y = Gemm(a, w, c) }"
    for bias in ((2, 4), (1,)):
        assert "constant vector" in refused(gemm, ONNXRUNTIME.capability, w=(3, 4), c=bias)
    assert "m" not in place(network(gemm, w=(3, 4), c=(4,)), MINMAX, ONNXRUNTIME.capability).skipped


def test_the_bias_of_a_matmul_is_int32_at_the_scale_of_its_products() -> None:
    """ONNX Runtime computes MatMul and Add as one Gemm, which has an integer kernel only with such a bias."""
    source = nets.pre_norm()
    made = planned(source, ONNXRUNTIME.capability)
    model = apply(source, made)
    dequantize = node(model, "qkv0_bias").inputs[0].producer()
    integers, scale, zero = (queries.constant(v) for v in dequantize.inputs)
    expected = made.values["norm0_out"].scale.astype(np.float64) * made.weights["qkv0"].scale
    np.testing.assert_array_equal(scale, expected.astype(np.float32))
    np.testing.assert_array_equal(integers, np.rint(queries.constant(source.graph.initializers["b_qkv0"]) / scale))
    assert integers.dtype == np.int32
    assert not zero.any()
    openvino = quantized(source, OPENVINO)
    assert node(openvino, "qkv0_bias").inputs[0].is_initializer()


@both
def test_a_constant_added_or_multiplied_later_is_no_integer_join(engine: Engine) -> None:
    """Only the first Add is the bias; between the layers one quantizer stands, not one on either side of the Mul."""
    source = network(
        """g (float[1,48,16] x) => (float[1,48,8] y) {
             [one] m = MatMul(x, w1)  [bias] a = Add(m, b)  [scale] s = Mul(a, c)  [two] y = MatMul(s, w2) }""",
        w1=(16, 16),
        w2=(16, 8),
        b=(16,),
        c=f32(*np.linspace(0.5, 2, 16)),
    )
    made = planned(source, engine.capability)
    assert set(made.values) == {"x", "s"}
    assert set(made.integer) == {"one", "bias", "two"}
    assert "constant" in made.skipped["scale"]


@pytest.mark.parametrize(
    ("text", "bias"),
    [
        ("[one] m = MatMul(x, w)  [add] y = Add(m, x)", None),  # a residual
        ("[one] m = MatMul(x, w)  [add] y = Add(m, single)", None),  # one number for all channels
        ("[one] m = MatMul(x, w)  [add] a = Add(m, b)  [more] y = Mul(a, m)", None),  # the product is read again
        ("[one] m = MatMul(x, w)  [add] y = Add(m, b)", "add"),
        ("[one] m = MatMul(x, w)  [add] y = Add(b, m)", "add"),
    ],
)
def test_what_counts_as_the_bias_of_a_matmul(text: str, bias: str | None) -> None:
    source = network(f"g (float[1,6,16] x) => (float[1,6,16] y) {{ {text} }}", w=(16, 16), b=(16,), single=f32(2))
    made = planned(source, ONNXRUNTIME.capability)
    assert ("add" in made.integer) == (bias is not None)
    assert ("b_quantized" in apply(source, made).graph.initializers) == (bias is not None)


def test_the_layers_behind_a_written_out_function_are_told_from_it() -> None:
    """A scale and a residual sum behind a GELU, and a product with another activation, belong to the model."""
    source = network(
        """g (float[1,6,16] x) => (float[1,6,16] y) {
             [inner] i = Div(x, root2) [erf] e = Erf(i) [plus] p = Add(e, one) [times] t = Mul(x, p)
             [halve] h = Mul(t, half) [layer] l = Mul(h, two) [residual] r = Add(l, x) [gate] g = Mul(r, x)
             [sum] m = ReduceSum<keepdims=1>(g, axes) [lone] q = Sqrt(m) [last] y = Div(g, q) }""",
        root2=f32(2**0.5),
        one=f32(1),
        half=f32(0.5),
        two=f32(2),
        axes=i64(2),
    )
    skipped = place(source, MINMAX, OPENVINO.capability).skipped
    assert {name for name, why in skipped.items() if "GELU" in why} == {"inner", "erf", "plus", "times", "halve"}
    assert not [name for name, why in skipped.items() if "variance" in why]


@both
def test_a_stack_of_matrices_runs_on_every_engine_whatever_it_runs_in(engine: Engine) -> None:
    """ONNX Runtime would take such a model and fail at its first run."""
    source = network("g (float[1,3,6,64] x) => (float[1,3,6,33] y) { [m] a = MatMul(x, w)  y = Neg(a) }", w=(3, 64, 33))
    placed = place(source, MINMAX, engine.capability)
    assert ("m" in placed.skipped) == (engine is ONNXRUNTIME)
    if engine is ONNXRUNTIME:
        assert placed.skipped["m"] == "its weights are a stack of 3 matrices; the integer kernel takes one"
    assert output_db(source, quantized(source, engine), engine) > 30
