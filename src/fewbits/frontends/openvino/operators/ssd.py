"""DetectionOutput, the end of SSD detectors: rows left over hold zeros, the image of the first of them is -1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer
from fewbits.frontends.ssd import Detection, Pen


def _detection_output(op: Operation, w: Writer) -> ir.Value:
    given = op.attributes
    keep = _checked(op)
    count = op.sizes(2)[2] // 4
    classes = op.sizes(1)[1] // count
    priors = op.constant(2).astype(np.float32).reshape(-1, count, 4)
    empty = np.zeros((keep, 7), np.float32)
    empty[0, 0] = -1
    detection = Detection(
        priors=priors[:1] if given["variance_encoded_in_target"] else priors,
        classes=classes,
        background=int(given.get("background_label_id", 0)),
        code="CENTER_SIZE",
        confidence=max(float(given.get("confidence_threshold", 0)), 0.0),
        top_k=int(given["top_k"]),
        overlap=float(given["nms_threshold"]),
        keep=keep,
        clip_before=bool(given.get("clip_before_nms")),
        clip_after=bool(given.get("clip_after_nms")),
        rest=empty,
    )
    pen = Pen(
        lambda kind, inputs, results, attributes: w.ops(kind, inputs, results, **attributes),
        lambda numbers, role: w.constant(numbers, role=role),
    )
    offsets, scores = w.reshape(op.input(0), count, 4), w.reshape(op.input(1), count, classes)
    return w.reshape(detection.write(pen, offsets, scores), 1, 1, keep, 7)


def _checked(op: Operation) -> int:
    """How many rows there are."""
    given = op.attributes
    op.refuse_unless(len(op) == 3 and op.sizes(1)[0] == 1, "more than one image, or additional predictions")
    coded = str(given["code_type"]).lower().endswith("center_size")
    plain = bool(given["normalized"]) and bool(given["share_location"]) and not given["decrease_label_id"]
    op.refuse_unless(coded and plain, "boxes that are not shared, not normalized or coded by their corners")
    keep = int(next(iter(given["keep_top_k"])))
    op.refuse_unless(keep > 0, "a result of changing size")
    return keep


TABLE: Final[dict[str, Callable[[Operation, Writer], ir.Value]]] = {"DetectionOutput": _detection_output}
