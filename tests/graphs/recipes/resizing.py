"""Resize in all its modes, Upsample, and what samples at positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..builder import Builder
from ..values import Value


def upsample(b: Builder) -> Value:
    """Opsets 7 to 9; its successor took its name away."""
    b.need(b.opset <= 9)
    x = b.floats(4)
    mode = b.one_of(None, "nearest", "linear")
    scales = [1.0, 1.0, b.one_of(2.0, 1.0, 3.0, 1.5), b.one_of(2.0, 2.0, 3.0, 1.5)]
    if b.opset < 9:
        return b.op("Upsample", x, scales=scales, mode=mode)
    return b.op("Upsample", x, b.const(scales, hint="scales"), mode=mode)


def resize(b: Builder) -> Value:
    b.since(10)
    x = b.floats(3, 4, 5) if b.chance(0.3) else b.floats(4)
    spatial = x.rank - 2
    scales = [b.one_of(2.0, 0.5, 1.5, 3.0, 0.7, 1.0) for _ in range(spatial)]
    if b.opset == 10:
        mode = b.one_of(None, "nearest", "linear")
        return b.op("Resize", x, b.const([1.0, 1.0, *scales], hint="scales"), mode=mode)
    return _newer(b, x, scales)


def _newer(b: Builder, x: Value, scales: list[float]) -> Value:
    mode = b.one_of(None, "nearest", "linear", "linear", "cubic" if x.rank == 4 else "linear")
    spatial = x.rank - 2
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", None, None]
    if b.opset >= 19:
        coordinates.append("half_pixel_symmetric")
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": b.one_of(*coordinates)}
    if mode in (None, "nearest"):
        attributes["nearest_mode"] = b.one_of(None, "floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    if mode == "cubic":
        attributes |= {"cubic_coeff_a": b.one_of(None, -0.5), "exclude_outside": b.one_of(None, 1)}
    roi = b.const([], hint="roi") if b.opset < 13 or b.chance(0.3) else None
    if b.chance(0.08):
        attributes["coordinate_transformation_mode"] = "tf_crop_and_resize"
        attributes["extrapolation_value"] = b.one_of(None, 0.5)
        low, high = [0.0] * 2 + [0.1] * spatial, [1.0] * 2 + [0.9] * spatial
        roi = b.const([*low, *high], hint="roi")
    if b.opset >= 18 and b.chance(0.2) and attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        attributes["antialias"] = 1 if mode in ("linear", "cubic") else None
    axes_only = (
        b.opset >= 18 and b.chance(0.25) and attributes["coordinate_transformation_mode"] != "tf_crop_and_resize"
    )
    if axes_only:
        attributes["axes"] = list(range(2, x.rank))
    ones = [] if axes_only else [1.0, 1.0]
    if b.chance(0.6) or None in x.dims[1:]:
        return b.op("Resize", x, roi, b.const([*ones, *scales], hint="scales"), **attributes)
    sizes = [max(int(n * s), 1) for n, s in zip(x.shape[2:], scales, strict=True)]
    if b.opset >= 18 and b.chance(0.2) and axes_only:
        attributes["keep_aspect_ratio_policy"] = b.one_of("not_larger", "not_smaller", "stretch")
    empty = b.const([], hint="scales") if b.opset < 13 else None
    if axes_only:
        return b.op("Resize", x, roi, empty, b.ints(*sizes), **attributes)
    if x.dims[0] is not None:
        return b.op("Resize", x, roi, empty, b.ints(*x.shape[:2], *sizes), **attributes)
    shape = b.op("Shape", x)
    head = b.op("Slice", shape, b.ints(0), b.ints(2), b.ints(0))
    return b.op("Resize", x, roi, empty, b.op("Concat", head, b.ints(*sizes), axis=0), **attributes)


def grid_sample(b: Builder) -> Value:
    b.since(16)
    x = b.floats(4)
    if b.opset >= 20 and b.chance(0.6) and x.dims[0] == 1:
        theta = b.const([[[0.9, 0.1, 0.05], [-0.1, 0.8, 0.0]]], hint="theta")
        grid = b.op("AffineGrid", theta, b.ints(1, x.shape[1], 5, 4), align_corners=b.one_of(None, 0, 1))
    else:
        grid = b.of_batch(b.const(b.rng().uniform(-1.1, 1.1, (1, 3, 4, 2)), hint="grid"), x)
    modes = ("linear", "nearest", "cubic", None) if b.opset >= 20 else ("bilinear", "nearest", "bicubic", None)
    attributes = {"mode": b.one_of(*modes), "padding_mode": b.one_of(None, "zeros", "border", "reflection")}
    return b.op("GridSample", x, grid, align_corners=b.one_of(None, 0, 1), **attributes)


def roi_align(b: Builder) -> Value:
    b.since(10)
    x = b.floats(4)
    rois = b.const([[0.5, 0.5, 4.0, 4.5], [1.0, 0.0, 3.0, 3.0]], hint="rois")
    attributes: dict[str, Any] = {"output_height": 2, "output_width": 3, "sampling_ratio": b.one_of(None, 2)}
    if b.opset >= 16:
        attributes["coordinate_transformation_mode"] = b.one_of(None, "half_pixel", "output_half_pixel")
    attributes |= {"mode": b.one_of(None, "avg", "max"), "spatial_scale": b.one_of(None, 0.5)}
    return b.op("RoiAlign", x, rois, b.const([0, 0], np.int64, "batch"), **attributes)


def max_roi_pool(b: Builder) -> Value:
    x = b.floats(4)
    rois = b.const([[0, 0, 0, 3, 3], [0, 1, 1, 4, 3]], hint="rois")
    return b.op("MaxRoiPool", x, rois, pooled_shape=[2, 2], spatial_scale=b.one_of(None, 0.5))


def crop(b: Builder) -> Value:
    b.since(18)
    x = b.floats(3, 4)
    return b.op("CenterCropPad", x, b.ints(5, 4), axes=[x.rank - 2, x.rank - 1])


RECIPES = {
    "Upsample": upsample,
    "Upsample again": upsample,
    "Upsample once more": upsample,
    "Resize": resize,
    "Resize again": resize,
    "Resize once more": resize,
    "GridSample": grid_sample,
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
    "CenterCropPad": crop,
}
