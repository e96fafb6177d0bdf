"""Parts of nets as people build them: residual blocks, attention, gates, heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..builder import Builder
from ..values import Value
from .moving import axes_op
from .normalizing import apply_batch_norm


def _conv(b: Builder, x: Value, out: int, size: int = 3, group: int = 1) -> Value:
    w = b.weight(out, x.shape[1] // group, *[size] * (x.rank - 2))
    bias = b.vector(out) if b.chance(0.5) else None
    found: Value = b.op("Conv", x, w, bias, pads=[size // 2] * 2 * (x.rank - 2), group=group)
    return found


def _image(b: Builder) -> Value:
    x = b.floats(4)
    b.need(x.dims[1] is not None and x.shape[1] <= 32)
    return x


def _tokens(b: Builder) -> Value:
    x = b.floats(3)
    b.need(x.dims[2] is not None and 2 <= x.shape[2] <= 100)
    return x


def conv_bn_relu(b: Builder) -> Value:
    x = _conv(b, _image(b), b.one_of(4, 6, 8))
    y = apply_batch_norm(b, x)
    if b.chance(0.5):
        return b.op("Relu", y)
    if b.opset >= 11:
        return b.op("Clip", y, b.const(0.0, hint="low"), b.const(6.0, hint="high"))
    return b.op("Clip", y, min=0.0, max=6.0)


def residual(b: Builder) -> Value:
    x = _image(b)
    y = _conv(b, b.op("Relu", _conv(b, x, x.shape[1])), x.shape[1])
    return b.op("Relu", b.op("Add", *((x, y) if b.chance(0.5) else (y, x))))


def depthwise(b: Builder) -> Value:
    """An inverted bottleneck."""
    x = _image(b)
    wide = _activation(b, _conv(b, x, x.shape[1] * 2, 1))
    deep = _activation(b, _conv(b, wide, wide.shape[1], 3, wide.shape[1]))
    y = _conv(b, deep, x.shape[1], 1)
    return b.op("Add", x, y) if b.chance(0.7) else y


def _activation(b: Builder, x: Value) -> Value:
    """ReLU, SiLU, hard swish, GELU as graphs spell them."""
    way = b.one_of("relu", "silu", "hard swish", "gelu", "mish")
    if way == "silu":
        return b.op("Mul", x, b.op("Sigmoid", x))
    if way == "hard swish":
        gate = b.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        return b.op("Mul", x, gate)
    if way == "gelu" and b.opset >= 9:
        inner = b.op("Erf", b.op("Div", x, b.const(math.sqrt(2), hint="c")))
        return b.op("Mul", b.op("Mul", x, b.op("Add", inner, b.const(1.0, hint="c"))), b.const(0.5, hint="c"))
    if way == "mish":
        return b.op("Mul", x, b.op("Tanh", b.op("Softplus", x)))
    return b.op("Relu", x)


def activation(b: Builder) -> Value:
    return _activation(b, b.floats())


def squeeze_excite(b: Builder) -> Value:
    x = _image(b)
    y = b.op("GlobalAveragePool", x)
    y = b.op("Relu", _conv(b, y, 3, 1))
    gate = b.op(b.one_of("Sigmoid", "HardSigmoid"), _conv(b, y, x.shape[1], 1))
    return b.op("Mul", x, gate)


def classifier(b: Builder) -> Value:
    x = _image(b)
    if b.chance(0.5):
        y = b.op("Flatten", b.op("GlobalAveragePool", x))
    else:
        y = axes_op(b, "ReduceMean", x, [2, 3], 18, keepdims=0)
    y = b.op("Gemm", y, b.weight(7, x.shape[1]), b.vector(7), transB=1)
    return b.op("Softmax", y, axis=1) if b.chance(0.5) else y


def _linear(b: Builder, x: Value, out: int) -> Value:
    y = b.op("MatMul", x, b.weight(x.shape[-1], out, fan_in=x.shape[-1]))
    return b.op("Add", y, b.vector(out)) if b.chance(0.7) else y


def attention(b: Builder) -> Value:
    """Self-attention with one or two heads, masked at times by -1e9 or -inf."""
    x = _tokens(b)
    heads, width = b.one_of(1, 2), 4
    q, k, v = (_linear(b, x, heads * width) for _ in range(3))
    if heads > 1:
        split = b.ints(0, 0, heads, width)
        q, v = (b.op("Transpose", b.op("Reshape", part, split), perm=[0, 2, 1, 3]) for part in (q, v))
        k = b.op("Transpose", b.op("Reshape", k, split), perm=[0, 2, 3, 1])
    else:
        k = b.op("Transpose", k, perm=[0, 2, 1])
    scores = b.op(b.one_of("Div", "Mul"), b.op("MatMul", q, k), b.const(b.one_of(2.0, 0.5), hint="c"))
    if b.chance(0.4) and x.dims[1] is not None:
        size = x.shape[1]
        causal = np.triu(np.ones((size, size)), 1)
        fill = b.one_of(-1e9, -1e4, -np.inf)
        scores = b.op("Add", scores, b.const(np.where(causal > 0, fill, 0.0), hint="causal"), anything=True)
    y = b.op("MatMul", b.op("Softmax", scores, axis=scores.rank - 1), v)
    if heads > 1:
        y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), b.ints(0, 0, heads * width))
    y = _linear(b, y, x.shape[2])
    return b.op("Add", x, y) if b.chance(0.6) else y


def attention_operator(b: Builder) -> Value:
    b.since(23)
    x = _tokens(b)
    q, k, v = (_linear(b, x, 8) for _ in range(3))
    return b.op("Attention", q, k, v, q_num_heads=2, kv_num_heads=2, is_causal=b.one_of(None, 1))


def rotary(b: Builder) -> Value:
    b.since(23)
    x = _tokens(b)
    b.need(x.dims[1] is not None)
    y = _linear(b, x, 8)
    angles = np.outer(np.arange(x.shape[1]), 0.3 ** np.arange(2))
    caches = [b.of_batch(b.const(f(angles)[None], hint="cache"), x) for f in (np.cos, np.sin)]
    return b.op("RotaryEmbedding", y, *caches, num_heads=2, interleaved=b.one_of(None, 1))


def feed_forward(b: Builder) -> Value:
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and 2 <= v.shape[-1] <= 64)
    y = _linear(b, _activation(b, _linear(b, x, 12)), x.shape[-1])
    return b.op("Add", x, y) if b.chance(0.6) else y


def gated(b: Builder) -> Value:
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and 2 <= v.shape[-1] <= 64)
    return b.op("Mul", _linear(b, x, 8), b.op("Sigmoid", _linear(b, x, 8)))


def boxes_and_scores(b: Builder) -> Any:
    """Two units in one output: positions in pixels beside probabilities."""
    x = b.pick(lambda v: v.is_float and v.rank in (2, 3) and v.dims[-1] is not None and 2 <= v.shape[-1] <= 64)
    boxes = b.op("Mul", b.op("Sigmoid", _linear(b, x, 4)), b.const(300.0, hint="pixels"))
    scores = b.op("Sigmoid", b.op("Sub", _linear(b, x, 3), b.const(b.one_of(0.0, 3.0), hint="c")))
    return b.op("Concat", boxes, scores, axis=x.rank - 1)


def decoder(b: Builder) -> Value:
    """Upsampled and joined with what it came from."""
    b.since(11)
    x = _image(b)
    small = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    b.need(all(p.shape[2] % 2 == 0 and p.shape[3] % 2 == 0 for p in x.probes))
    y = b.op(
        "Resize",
        _conv(b, small, 4),
        None if b.opset >= 13 else b.const([], hint="roi"),
        b.const([1, 1, 2, 2], hint="scales"),
    )
    return _conv(b, b.op("Concat", x, y, axis=1), 5)


def patches(b: Builder) -> Value:
    """The beginning of a vision transformer: patches as tokens."""
    x = _image(b)
    y = b.op("Conv", x, b.weight(8, x.shape[1], 2, 2), strides=[2, 2])
    b.need(None not in y.dims[1:])
    return b.op("Transpose", b.op("Reshape", y, b.ints(0, 8, -1)), perm=[0, 2, 1])


RECIPES = {
    "conv, bn, relu": conv_bn_relu,
    "residual": residual,
    "depthwise": depthwise,
    "activation": activation,
    "squeeze and excite": squeeze_excite,
    "classifier": classifier,
    "attention": attention,
    "Attention": attention_operator,
    "RotaryEmbedding": rotary,
    "feed forward": feed_forward,
    "gated": gated,
    "boxes and scores": boxes_and_scores,
    "decoder": decoder,
    "patches": patches,
}
