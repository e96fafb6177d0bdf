"""What SSD detectors (Liu et al. 2016) share in every format: prior boxes as numbers, detections as ONNX operators.

A frontend reads its layer's fields into a ``Grid`` or a ``Detection`` and refuses what it does not know or ONNX lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Floats = NDArray[np.float32]
CODES: Final = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")
_LOWEST = -3.4e38  # finite, and below every score
_MOST_BOXES = 1 << 20
_MOST_RATIOS = 1 << 8
_FARTHEST = 1e6  # widths of the image


def box_sizes(
    least: Sequence[float], most: Sequence[float], ratios: Sequence[float], *, flip: bool, scale_all: bool = True
) -> list[tuple[float, float]]:
    """Width and height of the boxes at one place, in the order of PriorBox.

    Of each least size s: a square of s, one of sqrt(s * most) where there is a most, and of each aspect ratio a other
    than 1 (and with ``flip`` of 1 / a) a box of s sqrt(a) x s / sqrt(a). Without ``scale_all`` only the first s has
    boxes of ratios, behind all squares.

    Raises:
        ValueError: no size, a size or a ratio that is not positive, or too many ratios.
    """
    if not least or min(*least, *most, *ratios, 1.0) <= 0 or len(ratios) > _MOST_RATIOS:
        raise ValueError(f"{len(least)} least sizes and {len(ratios)} aspect ratios; all must be positive")
    known = [1.0]
    for ratio in ratios:
        if all(abs(ratio - other) >= 1e-6 for other in known):
            known += [ratio, 1 / ratio] if flip else [ratio]
    roots = [math.sqrt(ratio) for ratio in known if abs(ratio - 1) >= 1e-6]
    sizes: list[tuple[float, float]] = []
    for index, size in enumerate(least):
        sizes.append((size, size))
        if index < len(most):
            sizes.append((math.sqrt(size * most[index]),) * 2)
        if scale_all:
            sizes += [(size * root, size / root) for root in roots]
    return sizes if scale_all else sizes + [(least[0] * root, least[0] / root) for root in roots]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Prior boxes around every place of a feature map.

    Args:
        sizes: width and height of each box at one place, in pixels.
        places: rows and columns of the feature map.
        image: height and width in pixels.
        steps: pixels from row to row and from column to column.
        offset: where the first center is, in steps.
        variances: one, or one for each number of a box.
        clip: whether boxes end where the image does.
    """

    sizes: Sequence[tuple[float, float]]
    places: tuple[int, int]
    image: tuple[float, float]
    steps: tuple[float, float]
    offset: float
    variances: Sequence[float]
    clip: bool

    def priors(self) -> Floats:
        """Corners (x1, y1, x2, y2) in parts of the image, then the variance of each number: [1, 2, 4 * boxes].

        Raises:
            ValueError: too many boxes, boxes far from the image, or variances that are not 1 or 4 positive numbers.
        """
        (rows, columns), (height, width), (step_y, step_x) = self.places, self.image, self.steps
        if (count := rows * columns * len(self.sizes)) > _MOST_BOXES:
            raise ValueError(f"{count} prior boxes are more than a detector has")
        if len(self.variances) not in (1, 4) or min(self.variances) <= 0:
            raise ValueError(f"variances {list(self.variances[:8])}; it takes one or four above 0")
        x, y = np.meshgrid((np.arange(columns) + self.offset) * step_x, (np.arange(rows) + self.offset) * step_y)
        centers, half = np.stack([x, y], axis=-1)[:, :, None], np.array(self.sizes) / 2
        corners = np.concatenate([centers - half, centers + half], axis=-1) / [width, height, width, height]
        if self.clip:
            corners = corners.clip(0, 1)
        if not np.abs(corners).max() < _FARTHEST:
            raise ValueError("its boxes lie nowhere near the image")
        variances = np.broadcast_to(self.variances, corners.shape)
        return np.stack([corners.reshape(-1), variances.reshape(-1)])[None].astype(np.float32)


@dataclass(frozen=True)
class Pen:
    """How a frontend writes: a node (operator, inputs, number of outputs, attributes), a constant (numbers, role)."""

    node: Callable[[str, Sequence[ir.Value], int, dict[str, Any]], Sequence[ir.Value]]
    constant: Callable[[NDArray[Any], str], ir.Value]

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """A node with one output."""
        return self.node(kind, inputs, 1, attributes)[0]

    def top(self, values: ir.Value, count: ir.Value, axis: int, *, largest: int = 1) -> Sequence[ir.Value]:
        """The ``count`` largest or smallest along an axis, in order, and where they stood."""
        return self.node("TopK", [values, count], 2, {"axis": axis, "largest": largest})

    def numbers(self, role: str, *numbers: float) -> ir.Value:
        """An FP32 vector."""
        return self.constant(np.array(numbers, np.float32), role)

    def indices(self, role: str, *numbers: int) -> ir.Value:
        """An INT64 vector: sizes, axes, places."""
        return self.constant(np.array(numbers, np.int64), role)

    def clipped(self, boxes: ir.Value) -> ir.Value:
        """The boxes cut at the borders of the image."""
        ends = (self.constant(np.array(end, np.float32), "border") for end in (0, 1))
        return self.op("Clip", boxes, *ends)


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """DetectionOutput: offsets become boxes, the best of each class that overlap too little stay.

    Args:
        priors: [2, P, 4], corners and variances; [1, P, 4] where the variances are in the offsets already.
        classes: how many scores each box has.
        background: the class that is none.
        code: one of ``CODES``; with center p, size s, variances v and offsets l

            CENTER_SIZE   center = v l s + p,   size = exp(v l) s
            CORNER        corners = prior + v l
            CORNER_SIZE   corners = prior + v l s

        shared: whether a box is the same for all classes.
        confidence: what a score must exceed.
        top_k: how many of each class enter suppression; all where it is not positive.
        overlap: the intersection over union from which the lower of two boxes goes.
        keep: how many stay of all classes together; all where it is not positive.
        by_score: rows by falling score, not by class and then score.
        clip_before, clip_after: whether boxes are cut at the image before suppression, or the ones left after it.
        rest: [keep, 7], the rows behind the last detection where the result has always ``keep`` rows.
    """

    priors: Floats
    classes: int
    background: int
    code: str
    confidence: float
    top_k: int
    overlap: float
    keep: int
    shared: bool = True
    by_score: bool = False
    clip_before: bool = False
    clip_after: bool = False
    rest: Floats | None = None

    @property
    def labels(self) -> list[int]:
        """The classes that are found."""
        return [label for label in range(self.classes) if label != self.background]

    def write(self, pen: Pen, offsets: ir.Value, scores: ir.Value) -> ir.Value:
        """Offsets [P, 4], or [P, classes, 4] of boxes that are not shared, and scores [P, classes] → rows [K, 7].

        A row is (image, class, score, x1, y1, x2, y2), the image 0. ``top_k`` counts candidates and
        NonMaxSuppression results, so TopK selects first, and each class is an entry of its batch with boxes of its own.
        """
        count, labels = self.priors.shape[1], pen.indices("labels", *self.labels)
        some = 0 < self.top_k < count
        limit = pen.indices("top_k", self.top_k if some else count)
        by_class = pen.op("Gather", pen.op("Transpose", scores, perm=[1, 0]), labels, axis=0)
        best, candidates = pen.top(by_class, limit, 1) if some else (by_class, None)
        boxes = self._boxes(pen, offsets, labels, candidates)
        chosen = pen.op(  # [K, 3]: (class, 0, place among its best), by class and falling score
            "NonMaxSuppression",
            boxes,
            pen.op("Unsqueeze", best, pen.indices("axis", 1)),
            limit,
            pen.numbers("nms_threshold", self.overlap),
            pen.numbers("confidence_threshold", max(self.confidence, _LOWEST)),
        )
        places = pen.op("Gather", chosen, pen.indices("class_and_place", 0, 2), axis=1)
        found, corners = (pen.op("GatherND", values, places) for values in (best, boxes))
        rows = self._rows(pen, chosen, found, pen.clipped(corners) if self.clip_after else corners)
        if self.keep > 0:
            most = pen.op("Min", pen.op("Shape", found), pen.indices("keep_top_k", self.keep))
            order = pen.top(found, most, 0)[1]
            rows = pen.op("Gather", rows, order if self.by_score else pen.top(order, most, 0, largest=0)[0], axis=0)
        if self.rest is None:
            return rows
        filled = pen.op("Concat", rows, pen.constant(self.rest, "rest"), axis=0)
        bounds = pen.indices("begin", 0), pen.indices("end", self.keep), pen.indices("rows", 0)
        return pen.op("Slice", filled, *bounds)

    def _rows(self, pen: Pen, chosen: ir.Value, scores: ir.Value, corners: ir.Value) -> ir.Value:
        index, zero = (pen.op("Gather", chosen, pen.indices("column", column), axis=1) for column in (0, 1))
        image = pen.op("Cast", zero, to=ir.DataType.FLOAT.value)
        label = pen.op("Gather", pen.numbers("label_numbers", *self.labels), index, axis=0)
        return pen.op("Concat", image, label, pen.op("Unsqueeze", scores, pen.indices("axis", 1)), corners, axis=1)

    def _boxes(self, pen: Pen, offsets: ir.Value, labels: ir.Value, places: ir.Value | None) -> ir.Value:
        """The corners of each class's candidates: [C, k, 4] for ``places`` [C, k], or of all boxes, [C, P, 4]."""
        if self.shared:
            boxes = self._decoded(pen, offsets)
            if places is not None:
                return pen.op("Gather", boxes, places, axis=0)
            return pen.op("Expand", boxes, pen.indices("each_class", len(self.labels), 1, 1))
        offsets = pen.op("Gather", pen.op("Transpose", offsets, perm=[1, 0, 2]), labels, axis=0)
        boxes = self._decoded(pen, offsets)
        if places is None:
            return boxes
        return pen.op("GatherND", boxes, pen.op("Unsqueeze", places, pen.indices("axis", 2)), batch_dims=1)

    def _decoded(self, pen: Pen, offsets: ir.Value) -> ir.Value:
        corners = self.priors[0]
        variances = self.priors[1] if len(self.priors) == 2 else np.ones_like(corners)
        first, last = corners[:, :2], corners[:, 2:]
        size = last - first
        if self.code == "CENTER_SIZE":
            moves, grows = pen.node("Split", [offsets, pen.indices("halves", 2, 2)], 2, {"axis": -1})
            moved = pen.op("Mul", moves, pen.constant(variances[:, :2] * size, "moves"))
            center = pen.op("Add", moved, pen.constant((first + last) / 2, "centers"))
            grown = pen.op("Exp", pen.op("Mul", grows, pen.constant(variances[:, 2:], "growth")))
            half = pen.op("Mul", grown, pen.constant(size / 2, "half_sizes"))
            boxes = pen.op("Concat", pen.op("Sub", center, half), pen.op("Add", center, half), axis=-1)
        else:
            factor = variances * np.tile(size, 2) if self.code == "CORNER_SIZE" else variances
            moved = pen.op("Mul", offsets, pen.constant(factor, "moves"))
            boxes = pen.op("Add", moved, pen.constant(corners, "priors"))
        return pen.clipped(boxes) if self.clip_before else boxes
