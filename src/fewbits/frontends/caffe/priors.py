"""PriorBox (SSD): boxes of fixed sizes around every place of a feature map, known before the network runs.

At place (i, j), with center ((j + offset) step_w, (i + offset) step_h), for each min_size s (``prior_box_layer.cpp``):
a square of s, one of sqrt(s * max_size) where there is a max_size, and of each aspect ratio a other than 1 a box of
s sqrt(a) x s / sqrt(a). The corners are relative to the image; the variances stand beside them: [1, 2, boxes * 4].
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.step import Step

_VARIANCE = 0.1
_MOST_NUMBERS = 1 << 26
_FARTHEST = 1e6  # widths of the image


def prior_box(step: Step) -> list[ir.Value]:
    """The boxes of one feature map (first bottom) in an image (second bottom), as a constant."""
    params = step.params
    if len(step.inputs) != 2 or any(len(step.sizes(value)) != 4 for value in step.inputs):
        raise step.error("it needs a feature map and an image of four axes")
    rows, columns = step.sizes(step.inputs[0])[2:]
    image = step.sizes(step.inputs[1])[2:]
    height, width = (_given(step, "img", axis) or size for axis, size in zip("hw", image, strict=True))
    step_h, step_w = (
        _pace(step, axis) or size / count for axis, size, count in (("h", height, rows), ("w", width, columns))
    )
    sizes = np.array(_sizes(step))
    if rows * columns * len(sizes) * 8 > _MOST_NUMBERS:
        raise step.error(f"{rows * columns * len(sizes)} boxes are more than a detector has")
    offset = params.number("offset", 0.5)
    x, y = np.meshgrid((np.arange(columns) + offset) * step_w, (np.arange(rows) + offset) * step_h)
    centers = np.stack([x, y], axis=-1)[:, :, None]
    corners = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=-1) / [width, height, width, height]
    if params.truth("clip", False):
        corners = corners.clip(0, 1)
    if not np.abs(corners).max() < _FARTHEST:
        raise step.error("its boxes lie nowhere near the image", fix="correct its sizes, steps and offset")
    variances = np.broadcast_to(_variances(step), corners.shape)
    priors = np.stack([corners.reshape(-1), variances.reshape(-1)])[None]
    return [step.constant(priors.astype(np.float32), "priors")]


def _sizes(step: Step) -> list[tuple[float, float]]:
    params = step.params
    smallest, largest = params.numbers("min_size"), params.numbers("max_size")
    if not smallest or min(smallest) <= 0 or len(largest) not in (0, len(smallest)):
        raise step.error(f"{len(smallest)} min_size and {len(largest)} max_size", fix="give a max_size each, or none")
    ratios = [1.0]
    for ratio in params.numbers("aspect_ratio"):
        if ratio <= 0:
            raise step.error(f"aspect_ratio {ratio:g} is not positive")
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if params.truth("flip", True) else [ratio]
    sizes = []
    for index, size in enumerate(smallest):
        sizes.append((size, size))
        if largest:
            if largest[index] <= size:
                raise step.error(f"max_size {largest[index]:g} is not above min_size {size:g}")
            sizes.append((math.sqrt(size * largest[index]),) * 2)
        sizes += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios if abs(ratio - 1) >= 1e-6]
    return sizes


def _variances(step: Step) -> list[float]:
    given = step.params.numbers("variance") or [_VARIANCE]
    if len(given) not in (1, 4) or min(given) <= 0:
        raise step.error(f"variances {given}", fix="give one or four, above 0")
    return given * 4 if len(given) == 1 else given


def _given(step: Step, name: str, axis: str) -> int:
    return step.params.integer(f"{name}_{axis}", 0) or step.params.integer(f"{name}_size", 0)


def _pace(step: Step, axis: str) -> float:
    return step.params.number(f"step_{axis}", 0.0) or step.params.number("step", 0.0)
