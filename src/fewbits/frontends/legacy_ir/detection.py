"""DetectionOutput (SSD) with the attributes, defaults and refusals of 2019.

Inputs: offsets [1, 4 P], scores [1, C P] (C for each box), boxes with variances [1, 2, 4 P]. Output [1, 1, K, 7]:
image, class, score, x1, y1, x2, y2. Rows are ordered by score; behind the last detection every row begins with -1 (the
layer of 2019 went class by class, and wrote -1 in one row only).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site
from fewbits.frontends.ssd import CODES, Detection, Pen

_MOST_SCORES = 1 << 26
_MOST_ROWS = 1 << 20


def detection_output(at: Site) -> ir.Value:
    """As above, for one image and boxes that all classes share."""
    at.need(3)
    classes = at.whole("num_classes")
    boxes, rest = divmod(at.shapes[2][-1], 4)
    _refuse_rare(at, classes, boxes, rest)
    empty = np.zeros((at.out[2], 7), np.float32)
    empty[:, 0] = -1
    detection = Detection(
        priors=at.constant(2).reshape(-1, boxes, 4).astype(np.float32),
        classes=classes,
        background=at.whole("background_label_id", 0),
        code=_code(at),
        confidence=at.real("confidence_threshold", -math.inf),
        top_k=at.whole("top_k", -1),
        overlap=at.real("nms_threshold"),
        keep=at.out[2],
        by_score=True,
        clip_before=at.flag("clip_before_nms") or at.flag("clip"),
        clip_after=at.flag("clip_after_nms"),
        rest=empty,
    )
    pen = Pen(
        lambda kind, inputs, results, given: at.tape.op_multi_out(kind, inputs, given, num_outputs=results),
        lambda numbers, role: at.const(role, numbers),
    )
    offsets, scores = at.reshaped(at.inputs[0], (boxes, 4)), at.reshaped(at.inputs[1], (boxes, classes))
    return at.reshaped(detection.write(pen, offsets, scores), at.out)


def _code(at: Site) -> str:
    """Such as CORNER, of ``caffe.PriorBoxParameter.CORNER``."""
    return at.text("code_type", "CORNER").rpartition(".")[2].upper()


def _refuse_rare(at: Site, classes: int, boxes: int, rest: int) -> None:
    rare = {
        f"boxes coded as {_code(at)[:40]}": _code(at) not in CODES,
        "more than three inputs": len(at.inputs) > 3,
        "boxes for each class": not at.flag("share_location", True),
        "boxes in pixels": not at.flag("normalized", True),
        "the labels of MXNet": at.flag("decrease_label_id"),
        f"a batch of {at.shape[0]}": at.shape[0] != 1,
    }
    for what, present in rare.items():
        if present:
            raise at.fail(f"{what} in a DetectionOutput are unknown to fewbits", "cut the network before it")
    shapes = at.shapes[:2]
    if rest or boxes < 1 or classes < 1 or [shape[-1] for shape in shapes] != [4 * boxes, classes * boxes]:
        raise at.fail(f"{boxes} boxes of {classes} classes do not fit {[list(shape) for shape in at.shapes]}")
    if boxes * classes > _MOST_SCORES or at.out[2:3] > (_MOST_ROWS,):
        raise at.fail("more boxes than fewbits takes")
    if len(at.out) != 4 or at.out[3] != 7:
        raise at.fail(f"it declares {list(at.out)}, not rows of 7")
    if at.shapes[2] != (1, 1 if at.flag("variance_encoded_in_target") else 2, 4 * boxes):
        raise at.fail(f"its boxes are {list(at.shapes[2])}")
