"""A model that is quantized is known as such, whatever made it so and wherever it stands; a plain one is not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from fewbits.graph.quantized import is_quantized, quantized_node
from models import conv_relu_conv, f32, i64, network

MICROSOFT = "com.microsoft"


def one_node(op: str, domain: str) -> ir.Model:
    """A graph of that one operator; no more than its name has to be right."""
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 1)]))


@pytest.mark.parametrize(
    ("op", "domain"),
    [
        *((op, "") for op in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger")),
        *((op, "") for op in ("MatMulInteger", "QLinearConv", "QLinearMatMul")),
        *((op, MICROSOFT) for op in ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "QGemm")),
        *((op, MICROSOFT) for op in ("QAttention", "QLinearAdd", "QLinearConvTranspose", "QEmbedLayerNormalization")),
        *((op, MICROSOFT) for op in ("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "QOrderedMatMul", "QMoE")),
        *((op, MICROSOFT) for op in ("QuantizeLinear", "DequantizeLinear", "MulInteger", "ReduceSumInteger")),
        ("FakeQuantize", "org.openvinotoolkit"),
    ],
)
def test_the_operators_of_quantized_models_are_known(op: str, domain: str) -> None:
    assert is_quantized(one_node(op, domain))
    assert op in quantized_node(one_node(op, domain))


@pytest.mark.parametrize("op", ["Round", "Cast", "Conv", "Gelu", "QuickGelu", "BitShift"])
def test_plain_operators_are_not(op: str) -> None:
    assert not is_quantized(one_node(op, MICROSOFT if "Gelu" in op else ""))


def test_a_plain_network_is_not() -> None:
    assert not is_quantized(conv_relu_conv())


@pytest.mark.parametrize("where", ["branch", "loop", "function"])
def test_they_are_found_inside_what_a_node_holds(where: str) -> None:
    texts = {
        "branch": """g (float[1,4] x, bool c) => (float[1,4] y) {
            y = If(c) <then_branch = t () => (float[1,4] a) { q, s, z = DynamicQuantizeLinear(x)
                a = DequantizeLinear(q, s, z) }, else_branch = e () => (float[1,4] b) { b = Relu(x) }> }""",
        "loop": """g (float[1,4] x, int64 n, bool c) => (float[1,4] y) {
            y = Loop(n, c, x) <body = b (int64 i, bool k, float[1,4] v) => (bool k2, float[1,4] w) {
                k2 = Identity(k)  q, s, z = DynamicQuantizeLinear(v)  w = DequantizeLinear(q, s, z) }> }""",
        "function": """g (float[1,4] x) => (float[1,4] y) { y = local.f(x) }""",
    }
    text = f'<ir_version: 8, opset_import: ["" : 17, "local" : 1]>\n{texts[where]}'
    if where == "function":
        text += """\n<domain: "local", opset_import: ["" : 17]> f (v) => (w) {
            q, s, z = DynamicQuantizeLinear(v)  w = DequantizeLinear(q, s, z) }"""
    assert is_quantized(ir.from_proto(onnx.parser.parse_model(text)))


def stored(weights: np.ndarray, body: str) -> ir.Model:
    """A product with these stored weights, which ``body`` turns into the FP32 matrix ``w`` of 16 rows."""
    return network(
        f"g (float[1,16] x) => (float[1,8] y) {{ {body}  y = MatMul(x, w) }}",
        q=weights, s=f32(0.1), z=f32(3), order=i64(16, 8),
    )  # fmt: skip


INT8 = np.arange(128, dtype=np.int8).reshape(16, 8)


@pytest.mark.parametrize(
    ("weights", "body"),
    [
        (INT8, "f = Cast<to=1>(q)  w = Mul(f, s)"),
        (INT8.astype(np.uint8), "f = Cast<to=1>(q)  c = Sub(f, z)  w = Mul(c, s)"),
        (INT8.reshape(-1), "f = Cast<to=1>(q)  r = Reshape(f, order)  w = Mul(r, s)"),
    ],
)
def test_integer_weights_that_are_scaled_are_quantized_ones(weights: np.ndarray, body: str) -> None:
    assert is_quantized(stored(weights, body))


@pytest.mark.parametrize("weights", [INT8.astype(np.int64), INT8.astype(np.float16), INT8 > 3])
def test_other_constants_that_are_cast_and_scaled_are_none(weights: np.ndarray) -> None:
    assert not is_quantized(stored(weights, "f = Cast<to=1>(q)  w = Mul(f, s)"))


@pytest.mark.parametrize(
    ("body", "quantized"),
    [
        ("a = Div(x, s)  r = Round(a)  c = Clip(r, low, high)  y = Mul(c, s)", True),
        ("a = Div(x, s)  r = Round(a)  b = Add(r, z)  c = Clip(b, low, high)  d = Sub(c, z)  y = Mul(d, s)", True),
        ("c = Max(x, low)  d = Min(c, high)  e = Sub(d, low)  a = Mul(e, s)  r = Round(a)  b = Mul(r, s)  "
         "y = Add(b, low)", True),
        ("y = Round(x)", False),
        ("a = Mul(x, s)  r = Round(a)  y = Mul(r, s)", False),
        ("c = Clip(x, low, high)  y = Round(c)", False),
    ],
)  # fmt: skip
def test_the_formula_of_a_quantizer_is_one(body: str, quantized: bool) -> None:
    model = network(
        f"g (float[1,16] x) => (float[1,16] y) {{ {body} }}",
        s=f32(0.1), z=f32(3), low=np.array(-128, np.float32), high=np.array(127, np.float32),
    )  # fmt: skip
    assert is_quantized(model) == quantized
