"""Convolutions and matrix products with constant weights, and products of two activations."""

from __future__ import annotations

import string
from typing import Any

from ..builder import Builder
from ..values import Value


def window(b: Builder, x: Value, *, dilate: bool = True) -> dict[str, Any]:
    """Kernel, strides, dilations and padding for the spatial axes of x [N, C, …]."""
    spatial = x.shape[2:]
    b.need(spatial and all(min(p.shape[2 + i] for p in x.probes) >= 2 for i in range(len(spatial))))
    kernel = [b.one_of(1, 2, 3, 3) for _ in spatial] if b.chance(0.4) else [b.one_of(1, 2, 3, 3)] * len(spatial)
    drawn: dict[str, Any] = {"kernel_shape": kernel}
    if b.chance(0.4):
        drawn["strides"] = [b.one_of(1, 2, 2, 3) for _ in spatial]
    if dilate and b.chance(0.2):
        drawn["dilations"] = [b.one_of(1, 2) for _ in spatial]
    padding = b.random.random()
    if padding < 0.45:
        drawn["pads"] = [(k - 1) // 2 or b.one_of(0, 0, k - 1) for k in kernel] * 2
    elif padding < 0.6:
        drawn["pads"] = [b.random.randrange(k) for k in (*kernel, *kernel)]
    elif padding < 0.75:
        drawn["auto_pad"] = b.one_of("SAME_UPPER", "SAME_LOWER", "VALID")
    return drawn


def images(b: Builder) -> Value:
    """A float activation [N, C, …spatial] with few channels."""
    return b.pick(lambda v: v.is_float and v.rank in (3, 4, 5) and v.dims[1] is not None and 1 <= v.shape[1] <= 32)


def groups(b: Builder, channels: int) -> tuple[int, int]:
    """(groups, output channels)."""
    if b.chance(0.7):
        return 1, b.one_of(1, 3, 4, 6, 8)
    count = channels if b.chance(0.6) else next((g for g in (2, 3) if channels % g == 0), channels)
    return count, count * b.one_of(1, 1, 2, 3)


def conv(b: Builder) -> Value:
    x = images(b)
    attributes = window(b, x)
    group, out = groups(b, x.shape[1])
    w = b.weight(out, x.shape[1] // group, *attributes["kernel_shape"])
    bias = b.vector(out) if b.chance(0.6) else None
    if b.chance(0.3):
        del attributes["kernel_shape"]
    return b.op("Conv", x, w, bias, group=group if group > 1 or b.chance(0.2) else None, **attributes)


def conv_transpose(b: Builder) -> Value:
    x = images(b)
    attributes = window(b, x)
    group, out = groups(b, x.shape[1])
    out = max(out // group, 1)
    kernel = attributes["kernel_shape"]
    w = b.weight(x.shape[1], out, *kernel, fan_in=x.shape[1] // group * max(len(kernel), 2))
    strides = attributes.get("strides", [1] * len(kernel))
    draw = b.random.random()
    if draw < 0.25:
        attributes["output_padding"] = [b.random.randrange(s) for s in strides]
    elif draw < 0.45 and None not in x.dims[2:]:
        attributes.pop("pads", None)
        extra = [b.random.randrange(s) for s in strides]
        attributes["output_shape"] = [n * s + e for n, s, e in zip(x.shape[2:], strides, extra, strict=True)]
    bias = b.vector(out * group) if b.chance(0.5) else None
    return b.op("ConvTranspose", x, w, bias, group=group if group > 1 else None, **attributes)


def gemm(b: Builder) -> Value:
    x = b.floats(2)
    trans_a = int(b.chance(0.15))
    size = x.dims[0] if trans_a else x.dims[1]
    b.need(size is not None and size <= 400)
    assert size is not None
    out, trans_b = b.one_of(1, 3, 5, 8, 10), int(b.chance(0.5))
    w = b.weight(*((out, size) if trans_b else (size, out)), fan_in=size)
    shapes = [(out,), (out,), (1, out), (1,), (), None]
    shape = b.one_of(*shapes) if b.chance(0.6) else (out,)
    if shape is None and b.opset < 11:
        shape = (out,)
    bias = None if shape is None else b.const(b.rng().uniform(-0.5, 0.5, shape), hint="b")
    attributes: dict[str, Any] = {"transA": trans_a or None, "transB": trans_b or None}
    if b.chance(0.3):
        attributes["alpha"] = b.one_of(0.5, 2.0, -1.0, 0.1)
    if bias is not None and b.chance(0.3):
        attributes["beta"] = b.one_of(0.5, 2.0, 0.0, -1.0)
    return b.op("Gemm", x, w, bias, **attributes)


def matmul(b: Builder) -> Value:
    x = b.pick(lambda v: v.is_float and v.rank >= 1 and v.dims[-1] is not None and 1 <= v.shape[-1] <= 400)
    size = x.shape[-1]
    if b.chance(0.08):
        w = b.weight(size, fan_in=size)
    elif b.chance(0.1) and x.rank >= 3 and x.dims[-3] is not None:
        w = b.weight(x.shape[-3], size, b.one_of(2, 5), fan_in=size)
    elif b.chance(0.1) and x.rank >= 2 and x.dims[-2] is not None:
        rows = x.shape[-2]
        return b.op("MatMul", b.weight(b.one_of(1, 3, 6), rows, fan_in=rows), x)
    else:
        w = b.weight(size, b.one_of(1, 4, 6, 8, 10), fan_in=size)
    y = b.op("MatMul", x, w)
    if w.rank == 2 and b.chance(0.5):
        y = b.op("Add", *((y, b.vector(w.shape[1])) if b.chance(0.7) else (b.vector(w.shape[1]), y)))
    return y


def two_activations(b: Builder) -> Value:
    x = b.pick(lambda v: v.is_float and v.rank >= 2)
    other = b.pick(lambda v: v.is_float and v.rank == x.rank and v.shape[:-2] == x.shape[:-2])
    if other.shape[-2] != x.shape[-1]:
        other = b.op("Transpose", other, perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
    return b.op("MatMul", x, other)


def einsum(b: Builder) -> Value:
    b.since(12)
    x = b.floats(2, 3, 4)
    letters = string.ascii_lowercase[: x.rank]
    if b.chance(0.5) and x.dims[-1] is not None:
        w = b.weight(x.shape[-1], 4, fan_in=x.shape[-1])
        left = "..." + letters[-1] if b.chance(0.3) else letters
        return b.op("Einsum", x, w, equation=f"{left},{letters[-1]}z->{left[:-1]}z")
    if b.chance(0.5):
        return b.op("Einsum", x, equation=f"{letters}->{''.join(b.random.sample(letters, len(letters)))}")
    kept = letters[:-1]
    return b.op("Einsum", x, x, equation=f"{letters},{letters}->{kept}")


RECIPES = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMul of two": two_activations,
    "Einsum": einsum,
}
# Drawn for the layers every graph has.
MOST = {"Conv again": conv, "MatMul again": matmul, "Gemm again": gemm, "Conv once more": conv}
