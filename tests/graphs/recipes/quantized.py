"""Parts that are quantized already; calibrate refuses them, convert carries them over."""

from __future__ import annotations

import numpy as np

from ..builder import Builder
from ..values import Value


def quantize_dequantize(b: Builder) -> Value:
    b.since(10)
    x = b.floats()
    dtype = b.one_of(np.uint8, np.int8)
    scale, zero = (
        b.const(0.03, hint="scale"),
        b.const(b.one_of(0, 100 if dtype == np.uint8 else 5), dtype, "zero_point"),
    )
    return b.op("DequantizeLinear", b.op("QuantizeLinear", x, scale, zero), scale, zero)


def dynamic_matmul(b: Builder) -> Value:
    """DynamicQuantizeLinear, MatMulInteger, Cast, Mul: what dynamic quantization makes of a linear layer."""
    b.since(11)
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and v.shape[-1] <= 64)
    y, scale, zero = b.ops("DynamicQuantizeLinear", x, outputs=3, anything=True)
    w = b.const(b.rng().integers(-100, 100, (x.shape[-1], 6)), np.int8, "w_quantized")
    total = b.op("MatMulInteger", y, w, zero, b.const(0, np.int8, "w_zero_point"))
    return b.op(
        "Mul",
        b.op("Cast", total, to=1, anything=True),
        b.op("Mul", scale, b.const(0.005, hint="w_scale"), anything=True),
    )


def conv_integer(b: Builder) -> Value:
    b.since(11)
    x = b.floats(4)
    b.need(x.dims[1] is not None and x.shape[1] <= 64)
    y, scale, zero = b.ops("DynamicQuantizeLinear", x, outputs=3, anything=True)
    w = b.const(b.rng().integers(0, 200, (4, x.shape[1], 3, 3)), np.uint8, "w_quantized")
    total = b.op("ConvInteger", y, w, zero, b.const(100, np.uint8, "w_zero_point"), pads=[1] * 4)
    return b.op(
        "Mul",
        b.op("Cast", total, to=1, anything=True),
        b.op("Mul", scale, b.const(0.003, hint="w_scale"), anything=True),
    )


def quantized_weight(b: Builder) -> Value:
    """Weights stored in 8 bits before a float layer."""
    b.since(10)
    x = b.floats(2)
    b.need(x.dims[1] is not None and x.shape[1] <= 400)
    w = b.const(b.rng().integers(-100, 100, (x.shape[1], 5)), np.int8, "w")
    return b.op("MatMul", x, b.op("DequantizeLinear", w, b.const(0.005, hint="s")))


def q_linear_matmul(b: Builder) -> Value:
    """Integers between quantizers, as static quantization writes them without Q/DQ pairs."""
    b.since(10)
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and v.shape[-1] <= 64)
    scale, zero = b.const(0.03, hint="scale"), b.const(110, np.uint8, "zero_point")
    w = b.const(b.rng().integers(-100, 100, (x.shape[-1], 6)), np.int8, "w_quantized")
    weight_scale, weight_zero = b.const(0.006, hint="scale"), b.const(0, np.int8, "zero_point")
    y = b.op(
        "QLinearMatMul", b.op("QuantizeLinear", x, scale, zero), scale, zero, w, weight_scale, weight_zero, scale, zero
    )
    return b.op("DequantizeLinear", y, scale, zero)


def q_linear_conv(b: Builder) -> Value:
    b.since(10)
    x = b.floats(4)
    b.need(x.dims[1] is not None and x.shape[1] <= 64)
    scale, zero = b.const(0.03, hint="scale"), b.const(110, np.uint8, "zero_point")
    w = b.const(b.rng().integers(-100, 100, (4, x.shape[1], 3, 3)), np.int8, "w_quantized")
    weight_scale, weight_zero = b.const(0.003, hint="scale"), b.const(0, np.int8, "zero_point")
    y = b.op("QuantizeLinear", x, scale, zero)
    y = b.op("QLinearConv", y, scale, zero, w, weight_scale, weight_zero, scale, zero, pads=[1] * 4)
    return b.op("DequantizeLinear", y, scale, zero)


RECIPES = {
    "QLinearMatMul": q_linear_matmul,
    "QLinearConv": q_linear_conv,
    "QuantizeLinear": quantize_dequantize,
    "MatMulInteger": dynamic_matmul,
    "ConvInteger": conv_integer,
    "DequantizeLinear": quantized_weight,
}
