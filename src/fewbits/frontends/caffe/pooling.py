"""Pooling with Caffe's sizes, written such that every engine computes them alike.

On each axis, with input H, kernel k, stride s and padding p (``pooling_layer.cpp``):

    out = ceil((H + 2p - k) / s) + 1,   one less if p > 0 and (out - 1) s >= H + p

so the last window starts inside the input or the padding before it; ``ceil_mode: false`` rounds down instead. Windows
may reach over the far edge, by overhang = (out - 1) s + k - (H + 2p). The average divides by the part of a window that
lies within H + 2p: padding counts, overhang does not.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from fewbits.frontends.caffe.step import Step
from fewbits.frontends.caffe.windows import per_axis

_METHODS = ("MAX", "AVE", "STOCHASTIC")


def pooling(step: Step) -> list[ir.Value]:
    """MAX and AVE over windows or, with ``global_pooling``, over all of space."""
    params, space = step.params, step.sizes(step.x)[2:]
    method = params.choice("pool", _METHODS, "MAX")
    if len(space) != 2:
        raise step.error(f"it pools two axes of space, not {len(space)}")
    if method == "STOCHASTIC":
        raise step.error("stochastic pooling has no operator in ONNX", fix="use MAX or AVE")
    if params.truth("global_pooling", False):
        _estimate(step, method, math.prod(space))
        return [step.op("GlobalMaxPool" if method == "MAX" else "GlobalAveragePool", [step.x])]
    kernel = per_axis(step, "kernel_size", "kernel", 2, None, low=1)
    pads = per_axis(step, "pad", "pad", 2, 0)
    strides = per_axis(step, "stride", "stride", 2, 1, low=1)
    ends = []
    for size, k, pad, stride in zip(space, kernel, pads, strides, strict=True):
        if k > size + 2 * pad or pad >= k:
            raise step.error(f"a window of {k} does not fit {size} with {pad} of padding")
        ends.append(_end(step, size, k, pad, stride))
    attributes = {"kernel_shape": kernel, "strides": strides}
    _estimate(step, method, math.prod(kernel))
    if method == "MAX":
        return [step.op("MaxPool", [step.x], attributes | {"pads": [*pads, *ends]})]
    return [_average(step, pads, ends, attributes)]


def _estimate(step: Step, method: str, count: int) -> None:
    before = step.moments[0]
    step.moments_out = before.largest(count) if method == "MAX" else before.average(count)


def _end(step: Step, size: int, k: int, pad: int, stride: int) -> int:
    """Padding at the far edge that makes ONNX's floor((H + p + end - k) / s) + 1 Caffe's output size."""
    down = step.params.choice("round_mode", ("CEIL", "FLOOR"), "CEIL") == "FLOOR"
    room = size + 2 * pad - k
    out = (room // stride if down or not step.params.truth("ceil_mode", True) else -(-room // stride)) + 1
    if (out - 1) * stride >= size + pad:
        if not pad:
            raise step.error(
                f"its last window starts beyond the input of {size}", fix="use a kernel of at least its stride"
            )
        out -= 1
    return max(0, (out - 1) * stride + k - size - pad)


def _average(step: Step, pads: list[int], ends: list[int], attributes: dict[str, list[int]]) -> ir.Value:
    x = step.x
    if not any(pads) or all(end <= pad for pad, end in zip(pads, ends, strict=True)):
        counted = int(any(pads))
        return step.op("AveragePool", [x], attributes | {"pads": [*pads, *ends], "count_include_pad": counted})
    # Some padding counts and some does not: what counts becomes part of the input.
    before, after = [0, 0, *pads], [0, 0, *map(min, ends, pads)]
    x = step.op("Pad", [x, step.indices([*before, *after], "pads")], part="pad")
    over = [max(0, end - pad) for pad, end in zip(pads, ends, strict=True)]
    return step.op("AveragePool", [x], attributes | {"pads": [0, 0, *over], "count_include_pad": 0})
