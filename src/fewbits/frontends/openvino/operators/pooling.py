"""Pooling windows. Where sizes are known, rounding up is written as padding behind, which all engines read alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.operators.convolution import window_pads
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value | Sequence[ir.Value]]


def _window(op: Operation, *, counts_pads: bool = False) -> dict[str, Any]:
    kernel, strides = (list(map(int, op.attributes[key])) for key in ("kernel", "strides"))
    dilations = list(map(int, op.attributes.get("dilations") or [1] * len(kernel)))
    places = window_pads(op, kernel, strides, dilations)
    window: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, **places}
    if any(dilation > 1 for dilation in dilations):
        window["dilations"] = dilations
    if op.attributes.get("rounding_type", "floor") == "floor" or "auto_pad" in places:
        return window
    extended = _extended(op, window, dilations)
    if extended is not None:
        return {**window, "pads": extended}
    # OpenVINO counts what hangs over as padding, ONNX does not.
    op.refuse_unless(not counts_pads, "an average over padding whose sizes are rounded up, of free size")
    return {**window, "ceil_mode": 1}


def _extended(op: Operation, window: dict[str, Any], dilations: list[int]) -> list[int] | None:
    """Pads with which rounding down gives the size that rounding up gave; None where ONNX would not take them."""
    sizes, results = (op.dims(0) or ())[2:], (op.result_dims() or ())[2:]
    if None in sizes or None in results or not sizes:
        return None
    count = len(window["kernel_shape"])
    pads = list(window["pads"])
    for axis in range(count):
        size, result = sizes[axis] or 0, results[axis] or 0
        span = (window["kernel_shape"][axis] - 1) * dilations[axis] + 1
        needed = (result - 1) * window["strides"][axis] + span - size - pads[axis]
        pads[axis + count] = max(needed, pads[axis + count])
        if pads[axis + count] >= window["kernel_shape"][axis]:
            return None
    return pads


def _max_pool(op: Operation, w: Writer) -> Sequence[ir.Value]:
    window = _window(op)
    if not op.used(1):
        return [w.op("MaxPool", op.input(0), **window)]
    op.refuse_unless(int(op.attributes.get("axis", 0)) == 0, "indices that start anew at an axis have no counterpart")
    values, indices = w.ops("MaxPool", [op.input(0)], 2, **window)
    return [values, w.cast(indices, op.result_type(1))]


def _avg_pool(op: Operation, w: Writer) -> ir.Value:
    exclude = bool(op.attributes["exclude-pad"])
    window = _window(op, counts_pads=not exclude)
    sizes = (op.dims(0) or ())[2:]
    if list(sizes) == window["kernel_shape"] and not any(window.get("pads", [1])):
        return w.op("GlobalAveragePool", op.input(0))
    return w.op("AveragePool", op.input(0), **window, count_include_pad=int(not exclude))


def _adaptive(op_type: str) -> Emit:
    """Equal windows where the sizes divide; ONNX has none of changing size."""

    def emit(op: Operation, w: Writer) -> ir.Value:
        results = op.integers(1)
        if all(size == 1 for size in results):
            return w.op(f"Global{op_type}", op.input(0))
        sizes = op.sizes()[2:]
        even = all(size % result == 0 for size, result in zip(sizes, results, strict=True))
        op.refuse_unless(even and not op.used(1), f"windows of changing size ({sizes} to {results})")
        window = [size // result for size, result in zip(sizes, results, strict=True)]
        return w.op(op_type, op.input(0), kernel_shape=window, strides=window)

    return emit


TABLE: Final[dict[str, Emit]] = {
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "AdaptiveAvgPool": _adaptive("AveragePool"),
    "AdaptiveMaxPool": _adaptive("MaxPool"),
}
