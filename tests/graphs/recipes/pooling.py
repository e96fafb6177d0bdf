"""Pooling: maxima, averages, norms, global and not; maxima put back."""

from __future__ import annotations

from typing import Any

from ..builder import Builder
from ..values import Value
from .linear import images, window


def _window(b: Builder, x: Value, dilations_since: int, ceil_since: int = 10) -> dict[str, Any]:
    drawn = window(b, x, dilate=b.opset >= dilations_since)
    if "auto_pad" not in drawn:
        # Engines refuse padding as large as the kernel.
        b.need(all(p < k for p, k in zip(drawn.get("pads", []), drawn["kernel_shape"] * 2, strict=False)))
    if b.opset >= ceil_since and b.chance(0.35):
        drawn["ceil_mode"] = 1
    return drawn


def max_pool(b: Builder) -> Value:
    x = images(b)
    return b.op("MaxPool", x, **_window(b, x, 10))


def max_pool_with_indices(b: Builder) -> Any:
    b.since(8)
    x = images(b)
    return b.ops("MaxPool", x, outputs=2, storage_order=b.one_of(None, 0, 1), **_window(b, x, 10))


def average_pool(b: Builder) -> Value:
    x = images(b)
    include = b.one_of(None, 0, 1, 1)
    return b.op("AveragePool", x, count_include_pad=include, **_window(b, x, 19))


def lp_pool(b: Builder) -> Value:
    x = images(b)
    return b.op("LpPool", x, p=b.one_of(None, 1, 2, 3), **_window(b, x, 18, 18))


def global_pool(b: Builder) -> Value:
    x = images(b)
    kind = b.one_of("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
    return b.op(kind, x, p=b.one_of(1, 2) if kind == "GlobalLpPool" else None)


def unpool(b: Builder) -> Value:
    b.since(9)
    x = b.floats(4)
    size = b.one_of(2, 3)
    pooled, indices = b.ops("MaxPool", x, outputs=2, kernel_shape=[size, size], strides=[size, size])
    if b.chance(0.4):
        pooled = b.op("Relu", pooled)
    return b.op("MaxUnpool", pooled, indices, kernel_shape=[size, size], strides=[size, size])


RECIPES = {
    "MaxPool": max_pool,
    "MaxPool with indices": max_pool_with_indices,
    "AveragePool": average_pool,
    "AveragePool again": average_pool,
    "LpPool": lp_pool,
    "Global pooling": global_pool,
    "MaxUnpool": unpool,
}
