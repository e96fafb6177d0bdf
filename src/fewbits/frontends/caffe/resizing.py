"""Upsample (nearest, by a whole factor) and Interp (bilinear with aligned corners)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.step import Step


def upsample(step: Step) -> list[ir.Value]:
    """Every place repeated scale x scale times; with a second bottom of pooling masks there is no ONNX operator."""
    if len(step.inputs) != 1:
        raise step.error("it places values by a pooling layer's mask", fix="use a Deconvolution or a scale instead")
    _space(step)
    scale = step.params.integer("scale", 2, low=1)
    factors = [step.params.integer(name, scale, low=1) for name in ("scale_h", "scale_w")]
    scales = step.constant(np.array([1, 1, *factors], np.float32), "scales")
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return [step.op("Resize", [step.x, None, scales], attributes)]


def interp(step: Step) -> list[ir.Value]:
    """Bilinear with aligned corners to height x width, or by ``zoom_factor`` and ``shrink_factor``; pads only crop."""
    params, (height, width) = step.params, _space(step)
    before, after = (params.integer(name, 0, low=-height, high=0) for name in ("pad_beg", "pad_end"))
    x, inner = step.x, [height + before + after, width + before + after]
    if min(inner) < 1:
        raise step.error(f"its pads {before} and {after} leave nothing of {height} x {width}")
    if before or after:
        bounds = [[-before] * 2, [height + after, width + after], [2, 3]]
        parts = [step.indices(values, part) for values, part in zip(bounds, ("starts", "ends", "axes"), strict=True)]
        x = step.op("Slice", [x, *parts], part="cut")
    target = [_resized(step, size, name) for size, name in zip(inner, ("height", "width"), strict=True)]
    samples, channels = step.fixed(x, "is resized to sizes that name the batch")[:2]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return [step.op("Resize", [x, None, None, step.indices([samples, channels, *target], "sizes")], attributes)]


def _resized(step: Step, size: int, name: str) -> int:
    params = step.params
    if params.has(name):
        return params.integer(name, 1, low=1)
    shrink, zoom = (params.integer(factor, 1, low=1) for factor in ("shrink_factor", "zoom_factor"))
    size = (size - 1) // shrink + 1
    return size + (size - 1) * (zoom - 1)


def _space(step: Step) -> tuple[int, int]:
    sizes = step.sizes(step.x)
    if len(sizes) != 4:
        raise step.error(f"it needs four axes, not {len(sizes)}")
    return sizes[2], sizes[3]
