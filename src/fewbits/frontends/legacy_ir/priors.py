"""PriorBox and PriorBoxClustered (SSD, Liu et al. 2016): boxes that depend on sizes alone, so they become constants.

Output [1, 2, 4 B]: corners x1, y1, x2, y2 in parts of the image, then the variances of each number.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.legacy_ir.site import Site

Float = NDArray[np.float64]
_MOST_BOXES = 1 << 20


def prior_box(at: Site) -> ir.Value:
    """Squares of each minimum size and of the mean of minimum and maximum, then one box for each aspect ratio."""
    if any(key in at.layer.data and at.reals(key) for key in ("fixed_size", "fixed_ratio", "density")):
        raise at.fail("densities and fixed sizes of prior boxes are unknown to fewbits")
    least, most = at.reals("min_size"), at.reals("max_size", [])
    if not least or min(*least, *most, 1.0) <= 0:
        raise at.fail("its sizes must be positive")
    ratios = _ratios(at)
    boxes: list[tuple[float, float]] = []
    for i, size in enumerate(least):
        boxes.append((size, size))
        if i < len(most):
            boxes.append((math.sqrt(size * most[i]),) * 2)
        if at.flag("scale_all_sizes", True) or i == len(least) - 1:
            base = size if at.flag("scale_all_sizes", True) else least[0]
            boxes += [(base * math.sqrt(ratio), base / math.sqrt(ratio)) for ratio in ratios]
    image = _sizes(at)[1]
    return _spread(at, boxes, at.real("step", 0.0), at.real("step", 0.0), image)


def prior_box_clustered(at: Site) -> ir.Value:
    """One box for each width and height."""
    widths, heights = at.reals("width"), at.reals("height")
    if len(widths) != len(heights) or not widths:
        raise at.fail(f"{len(widths)} widths and {len(heights)} heights")
    step = at.real("step", 0.0)
    height, width = _sizes(at)[1]
    image = at.real("img_h", 0.0) or height, at.real("img_w", 0.0) or width
    boxes = list(zip(widths, heights, strict=True))
    return _spread(at, boxes, at.real("step_w", 0.0) or step, at.real("step_h", 0.0) or step, image)


def _ratios(at: Site) -> list[float]:
    found = [1.0]
    for ratio in at.reals("aspect_ratio", []):
        if ratio <= 0:
            raise at.fail(f"an aspect ratio of {ratio}")
        if all(abs(ratio - known) >= 1e-6 for known in found):
            found += [ratio, 1 / ratio] if at.flag("flip") else [ratio]
    return [ratio for ratio in found if abs(ratio - 1.0) >= 1e-6]


def _sizes(at: Site) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the feature map and of the image."""
    at.need(2)
    if not all(len(shape) == 4 for shape in at.shapes[:2]):
        raise at.fail("it needs a feature map and an image")
    (_, _, h, w), (_, _, image_h, image_w) = at.shapes[:2]
    return (h, w), (image_h, image_w)


def _spread(
    at: Site, boxes: list[tuple[float, float]], step_x: float, step_y: float, image: tuple[float, float]
) -> ir.Value:
    (h, w), (image_h, image_w) = _sizes(at)[0], image
    if h * w * len(boxes) > _MOST_BOXES:
        raise at.fail(f"{h * w * len(boxes)} prior boxes are more than fewbits makes")
    offset = at.real("offset", 0.5)
    if step_x == 0.0 and step_y == 0.0:
        step_x, step_y = image_w / w, image_h / h
        offset = offset if at.layer.type == "PriorBoxClustered" else 0.5
    y, x = np.meshgrid((np.arange(h) + offset) * step_y, (np.arange(w) + offset) * step_x, indexing="ij")
    sizes: Float = np.array(boxes)
    half_w, half_h = sizes[:, 0] / 2, sizes[:, 1] / 2
    x, y = x[..., None], y[..., None]
    corners = np.stack(
        [(x - half_w) / image_w, (y - half_h) / image_h, (x + half_w) / image_w, (y + half_h) / image_h], axis=-1
    )
    if at.flag("clip"):
        corners = corners.clip(0.0, 1.0)
    variance = at.reals("variance", []) or [0.1]
    if len(variance) not in (1, 4):
        raise at.fail(f"{len(variance)} variances, not 1 or 4")
    variances = np.broadcast_to(variance, (corners.size // 4, 4))
    both = np.stack([corners.reshape(-1), variances.reshape(-1)])[None]
    if math.prod(at.out) != both.size:
        raise at.fail(f"it declares {list(at.out)} for {both.shape[2]} numbers of boxes")
    return at.const("boxes", both.reshape(at.out).astype(np.float32))
