"""DetectionOutput (SSD) as ONNX operators: decoding, suppression class by class, and the best of what is left.

Of a prior box with center p, size s and variances v, and an offset l (``bbox_util.cpp``):

    CENTER_SIZE   center = v l s + p,   size = exp(v l) s
    CORNER        corners = prior + v l
    CORNER_SIZE   corners = prior + v l s

(no v with ``variance_encoded_in_target``). Each class keeps its ``top_k`` best above the confidence threshold and
suppresses overlaps; of all classes together the ``keep_top_k`` best remain, as rows of (image, class, score, x1, y1,
x2, y2) by class and falling score: [1, 1, rows, 7]. Caffe writes a row of -1 where there is nothing; here there
is no row.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.parameters import Parameters
from fewbits.frontends.caffe.step import Step

_CODES = ("", "CORNER", "CENTER_SIZE", "CORNER_SIZE")
_LOWEST = -3.4e38
_MOST_CLASSES = 1 << 16


def detection_output(step: Step) -> list[ir.Value]:
    """(offsets [1, P * 4] or [1, P * C * 4], scores [1, P * C], priors [1, 2, P * 4]) → [1, 1, rows, 7]."""
    params = step.params
    priors, classes, overlap = _checked(step)
    background = params.integer("background_label_id", 0, low=-1)
    labels = np.array([label for label in range(classes) if label != background], np.int64)
    if not len(labels):
        raise step.error("no class but the background", fix="correct num_classes")
    boxes = _decode(step, priors, labels, classes)
    scores = step.reshape(step.inputs[1], (len(priors[0]), classes), "scores")
    scores = step.op("Transpose", [scores], {"perm": [1, 0]}, "by_class")
    scores = step.op("Gather", [scores, step.indices(labels.tolist(), "labels")], {"axis": 0}, "foreground")

    limit = overlap.integer("top_k", -1, low=-1)
    limit = len(priors[0]) if limit == -1 else min(limit, len(priors[0]))
    scores, places = step.ops("TopK", [scores, step.indices([limit], "top_k")], 2, {"axis": 1}, "best")
    boxes = _gather_boxes(step, boxes, places)  # [C, top_k, 4]

    threshold = max(params.number("confidence_threshold", _LOWEST), _LOWEST)
    chosen = step.op(
        "NonMaxSuppression",
        [
            boxes,
            step.op("Unsqueeze", [scores, step.indices([1], "scores_axis")], part="scores_nms"),
            step.indices([limit], "most"),
            step.number(overlap.number("nms_threshold", 0.3), "nms_threshold"),
            step.number(threshold, "confidence_threshold"),
        ],
        part="suppress",
    )
    # Classes stand where NonMaxSuppression has its batch: a chosen row is (class, 0, place).
    columns = step.indices([0, 2], "class_and_place")
    chosen = step.op("Gather", [chosen, columns], {"axis": 1}, "chosen")
    kept = step.op("GatherND", [scores, chosen], part="chosen_scores")
    most = params.integer("keep_top_k", -1, low=-1)
    if most != -1:
        chosen, kept = _best(step, chosen, kept, most)
    return [_rows(step, chosen, kept, step.op("GatherND", [boxes, chosen], part="chosen_boxes"), labels)]


def _checked(step: Step) -> tuple[np.ndarray, int, Parameters]:
    """(corners and variances [2, P, 4], number of classes, the parameters of suppression)."""
    params, overlap = step.params, step.params.child("nms_param")
    classes = params.integer("num_classes", 0, low=1, high=_MOST_CLASSES)
    if len(step.inputs) != 3:
        raise step.error(
            f"{len(step.inputs)} bottoms; it reads offsets, scores and priors", fix="refined forms need a retrain"
        )
    if step.inputs[2].const_value is None:
        raise step.error("its third bottom is not made by PriorBox layers", fix="connect their joined output")
    priors = step.inputs[2].const_value.numpy()
    if priors.ndim != 3 or priors.shape[:2] != (1, 2) or priors.shape[2] % 4 or not classes:
        raise step.error(
            f"priors of shape {list(priors.shape)} for {classes} classes", fix="correct the layers before it"
        )
    priors = priors.reshape(2, -1, 4)
    if step.fixed(step.x, "puts the detections of all images into one list")[0] != 1:
        raise step.error("it puts the detections of all images into one list", fix="set the batch of the input to 1")
    if overlap.number("eta", 1.0) != 1:
        raise step.error("a suppression threshold that changes (eta) has no operator in ONNX", fix="set eta to 1")
    if not 0 <= overlap.number("nms_threshold", 0.3) <= 1 or 0 in (
        overlap.integer("top_k", -1, low=-1),
        params.integer("keep_top_k", -1, low=-1),
    ):
        raise step.error("nms_threshold lies in 0..1, top_k and keep_top_k are positive or -1")
    return priors, classes, overlap


def _decode(step: Step, priors: np.ndarray, labels: np.ndarray, classes: int) -> ir.Value:
    """Boxes [P, 4], or [C, P, 4] where each class has its own."""
    params, count = step.params, len(priors[0])
    corners, variances = priors
    if params.truth("variance_encoded_in_target", False):
        variances = np.ones_like(variances)
    if params.truth("share_location", True):
        offsets = step.reshape(step.x, (count, 4), "offsets")
    else:
        offsets = step.reshape(step.x, (count, classes, 4), "offsets")
        offsets = step.op("Transpose", [offsets], {"perm": [1, 0, 2]}, "offsets_by_class")
        offsets = step.op("Gather", [offsets, step.indices(labels.tolist(), "located")], {"axis": 0}, "located_offsets")
    size = corners[:, 2:] - corners[:, :2]
    code = params.choice("code_type", _CODES, "CORNER")
    if code != "CENTER_SIZE":
        factor = variances * np.tile(size, 2) if code == "CORNER_SIZE" else variances
        moved = step.op("Mul", [offsets, step.constant(factor, "factor")], part="moved")
        return step.op("Add", [moved, step.constant(corners, "corners")], part="boxes")
    axis = len(step.sizes(offsets)) - 1
    first, second = step.ops("Split", [offsets, step.indices([2, 2], "halves")], 2, {"axis": axis}, "center_and_size")
    center = step.op("Mul", [first, step.constant(variances[:, :2] * size, "center_factor")], part="moved")
    center = step.op("Add", [center, step.constant((corners[:, :2] + corners[:, 2:]) / 2, "centers")], part="center")
    grown = step.op(
        "Exp", [step.op("Mul", [second, step.constant(variances[:, 2:], "growth")], part="log")], part="exp"
    )
    half = step.op("Mul", [grown, step.constant(size / 2, "half_sizes")], part="half")
    ends = [step.op(op_type, [center, half], part=part) for op_type, part in (("Sub", "low"), ("Add", "high"))]
    return step.op("Concat", ends, {"axis": axis}, "boxes")


def _gather_boxes(step: Step, boxes: ir.Value, places: ir.Value) -> ir.Value:
    """The boxes of each class's best: [P, 4] or [C, P, 4] at places [C, k] → [C, k, 4]."""
    if len(step.sizes(boxes)) == 2:
        return step.op("Gather", [boxes, places], {"axis": 0}, "best_boxes")
    rows = step.op("Unsqueeze", [places, step.indices([2], "places_axis")], part="places")
    return step.op("GatherND", [boxes, rows], {"batch_dims": 1}, "best_boxes")


def _best(step: Step, chosen: ir.Value, kept: ir.Value, most: int) -> tuple[ir.Value, ir.Value]:
    """The ``most`` best of all classes, in the order they stood in."""
    count = step.op("Min", [step.op("Shape", [kept], part="count"), step.indices([most], "keep_top_k")], part="keep")
    _, rows = step.ops("TopK", [kept, count], 2, {"axis": 0}, "keep_best")
    rows, _ = step.ops("TopK", [rows, count], 2, {"axis": 0, "largest": 0}, "in_order")
    return (
        step.op("Gather", [chosen, rows], {"axis": 0}, "kept"),
        step.op("Gather", [kept, rows], {"axis": 0}, "kept_scores"),
    )


def _rows(step: Step, chosen: ir.Value, scores: ir.Value, boxes: ir.Value, labels: np.ndarray) -> ir.Value:
    column, float32 = step.indices([1], "column"), {"to": ir.DataType.FLOAT.value}
    index = step.op("Gather", [chosen, step.indices([0], "class")], {"axis": 1}, "class_index")  # [rows, 1]
    known = step.constant(labels.astype(np.float32), "label_numbers")
    label = step.op("Gather", [known, index], {"axis": 0}, "label")
    image = step.op(
        "Mul", [step.op("Cast", [index], float32, "as_float"), step.number(0, "image")], part="image_number"
    )
    score = step.op("Unsqueeze", [scores, column], part="score")
    rows = step.op("Concat", [image, label, score, boxes], {"axis": 1}, "rows")
    return step.op("Unsqueeze", [rows, step.indices([0, 1], "outer")])
