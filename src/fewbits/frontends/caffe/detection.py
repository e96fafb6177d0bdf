"""DetectionOutput (SSD) with Caffe's fields and refusals.

Rows stand by class and falling score: [1, 1, rows, 7]. Caffe writes a row of -1 where there is nothing; here there is
no row.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.caffe.step import Step
from fewbits.frontends.ssd import CODES, Detection, Pen

_MOST_CLASSES = 1 << 16


def detection_output(step: Step) -> list[ir.Value]:
    """(offsets [1, P * 4] or [1, P * C * 4], scores [1, P * C], priors [1, 2, P * 4]) → [1, 1, rows, 7]."""
    params, overlap = step.params, step.params.child("nms_param")
    priors, classes = _checked(step)
    shared, count = params.truth("share_location", True), priors.shape[1]
    detection = Detection(
        priors=priors[:1] if params.truth("variance_encoded_in_target", False) else priors,
        classes=classes,
        background=params.integer("background_label_id", 0, low=-1),
        code=params.choice("code_type", ("", *CODES), "CORNER"),
        confidence=params.number("confidence_threshold", -math.inf),
        top_k=overlap.integer("top_k", -1, low=-1),
        overlap=overlap.number("nms_threshold", 0.3),
        keep=params.integer("keep_top_k", -1, low=-1),
        shared=shared,
    )
    if not detection.labels:
        raise step.error("no class but the background", fix="correct num_classes")
    offsets = step.reshape(step.x, (count, 4) if shared else (count, classes, 4), "offsets")
    scores = step.reshape(step.inputs[1], (count, classes), "scores")
    pen = Pen(lambda kind, inputs, results, given: step.ops(kind, inputs, results, given, kind), step.constant)
    rows = detection.write(pen, offsets, scores)
    return [step.op("Unsqueeze", [rows, step.indices([0, 1], "outer")])]


def _checked(step: Step) -> tuple[NDArray[np.float32], int]:
    """(corners and variances [2, P, 4], number of classes)."""
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
    if step.fixed(step.x, "puts the detections of all images into one list")[0] != 1:
        raise step.error("it puts the detections of all images into one list", fix="set the batch of the input to 1")
    if overlap.number("eta", 1.0) != 1:
        raise step.error("a suppression threshold that changes (eta) has no operator in ONNX", fix="set eta to 1")
    if not 0 <= overlap.number("nms_threshold", 0.3) <= 1 or 0 in (
        overlap.integer("top_k", -1, low=-1),
        params.integer("keep_top_k", -1, low=-1),
    ):
        raise step.error("nms_threshold lies in 0..1, top_k and keep_top_k are positive or -1")
    return priors.reshape(2, -1, 4), classes
