"""Reads detections out of a model's outputs: which rows, which class, which box.

Two layouts are understood, both of finished detections. Raw heads (YOLO grids, SSD offsets) are not:
decoding them needs anchors, strides and suppression that only the model's author knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Outputs
from fewbits.measurement.metrics.outputs import shapes

PLAUSIBLE = 2.0
"""Relative coordinates may leave 0..1 a little; a typical one beyond this is in pixels."""


def detections(outputs: Outputs, input_size: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Rows [M, 6] of (class, score, x1, y1, x2, y2), coordinates relative to the image, 0..1.

    - One output [1, 1, M, 7] of (image, class, score, x1, y1, x2, y2): DetectionOutput of Caffe and
      OpenVINO. The rows end at the first negative image.
    - Boxes [M, 4] or [1, M, 4] with scores and labels [M] or [1, M]. The labels are the integers, or have
      "label" or "class" in their name. Boxes are x1, y1, x2, y2; y1, x1, y2, x2 if the output's name
      contains ``detection_boxes`` (TensorFlow Object Detection API).

    Rows without a finite score are dropped. A finite score with a broken box stays, as an empty box, so
    that it counts against the candidate. ``input_size`` is the model input's (width, height), for models
    that give boxes in pixels of their (stretched, not padded) input.

    Raises:
        DataError: the outputs are no detections, or are in pixels and ``input_size`` is not known.
    """
    rows = _detection_output(outputs)
    if rows is None:
        rows = _boxes_scores_labels(outputs)
    if rows is None:
        raise DataError(
            f"map needs finished detections, the model gives {shapes(outputs)}",
            fix="export the model with its decoding and suppression, or decode in a metric of your own: "
            "--metric module:function",
        )
    rows = rows[np.isfinite(rows[:, :2]).all(axis=1)]
    boxes = rows[:, 2:]
    boxes[~np.isfinite(boxes).all(axis=1)] = 0.0
    # The median, since one wild box of a bad candidate must not change the unit of the others.
    if len(boxes) and np.median(np.abs(boxes).max(axis=1)) > PLAUSIBLE:
        if input_size is None:
            raise DataError(
                "the boxes are not relative to the image (0..1)",
                fix="divide them by the input's width and height in the model",
            )
        boxes /= np.array([*input_size, *input_size], dtype=np.float64)
    return rows


def _detection_output(outputs: Outputs) -> NDArray[np.float64] | None:
    found = [
        array for array in outputs.values() if array.ndim == 4 and array.shape[:2] == (1, 1) and array.shape[3] == 7
    ]
    if len(found) != 1:
        return None
    rows: NDArray[np.float64] = found[0][0, 0].astype(np.float64)
    ends = np.flatnonzero(~(rows[:, 0] >= 0))
    return rows[: ends[0] if len(ends) else None, 1:].copy()


def _boxes_scores_labels(outputs: Outputs) -> NDArray[np.float64] | None:
    # [1, M, 4] → [M, 4] and [1, M] → [M]; a lone [1, 4] is one box, not four numbers.
    boxes = {name: _unbatched(array, 2) for name, array in outputs.items() if array.shape[-1:] == (4,)}
    boxes = {name: array for name, array in boxes.items() if array.ndim == 2}
    if len(boxes) != 1:
        return None
    ((box_name, box),) = boxes.items()
    vectors = {name: _unbatched(array, 1) for name, array in outputs.items() if name != box_name}
    vectors = {name: array for name, array in vectors.items() if array.shape == (len(box),)}
    labels = {name for name, array in vectors.items() if _is_labels(name, array)}
    scores = {name for name, array in vectors.items() if name not in labels and "num" not in name.lower()}
    if len(labels) != 1 or len(scores) != 1:
        return None
    corners = box.astype(np.float64)
    if "detection_boxes" in box_name.lower():
        corners = corners[:, [1, 0, 3, 2]]
    return np.column_stack(
        [vectors[labels.pop()].astype(np.float64), vectors[scores.pop()].astype(np.float64), corners]
    )


def _unbatched(array: NDArray[Any], ndim: int) -> NDArray[Any]:
    return array[0] if array.ndim == ndim + 1 and array.shape[0] == 1 else array


def _is_labels(name: str, array: NDArray[Any]) -> bool:
    lowered = name.lower()
    if "num" in lowered or "score" in lowered:
        return False
    return bool(np.issubdtype(array.dtype, np.integer)) or "label" in lowered or "class" in lowered
