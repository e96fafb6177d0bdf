"""DetectionOutput, the end of SSD detectors: decoded boxes, suppression by class, the best of an image in rows.

A prior box (left, top, right, bottom) of width w, height h and centre (x, y), with variances v and offsets o, gives

    centre = (v0 o0 w + x, v1 o1 h + y)    size = (exp(v2 o2) w, exp(v3 o3) h)

A row is (image, class, score, left, top, right, bottom); rows left over hold zeros, the first of them image -1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer


def _detection_output(op: Operation, w: Writer) -> ir.Value:
    given = op.attributes
    _check(op)
    priors = op.sizes(2)[2] // 4
    classes = op.sizes(1)[1] // priors
    top, keep = int(given["top_k"]), int(next(iter(given["keep_top_k"])))
    background = int(given.get("background_label_id", 0))
    boxes = _boxes(op, w, priors)
    scores = w.transpose(w.reshape(op.input(1), 1, priors, classes), [0, 2, 1])
    # ONNX limits what suppression gives, DetectionOutput what it takes: scores below the limit are put out of reach.
    if 0 < top < priors:
        best = w.ops("TopK", [scores, w.integers(top)], 2, axis=2)[0]
        least = w.slice(best, 2, top - 1, top)
        scores = w.op("Where", w.op("Less", scores, least), w.like(-1, op), scores)
    if 0 <= background < classes:
        shown = np.ones((1, classes, 1), bool)
        shown[0, background] = False
        scores = w.op("Where", w.constant(shown), scores, w.like(-1, op))
    limits = [float(given["nms_threshold"]), max(float(given.get("confidence_threshold", 0)), 0.0)]
    chosen = w.op(
        "NonMaxSuppression", boxes, scores, w.integers(priors), *(w.constant([limit], np.float32) for limit in limits)
    )
    found = w.op("GatherND", scores, chosen)
    order = _best(w, found, keep)
    chosen, found = w.op("Gather", chosen, order, axis=0), w.op("Gather", found, order, axis=0)
    places = w.op("Gather", chosen, w.integers(0, 2), axis=1)
    labels = w.op("Cast", w.slice(chosen, 1, 0, 2), to=int(ir.DataType.FLOAT))
    rows = w.op("Concat", labels, w.unsqueeze(found, 1), _clipped(op, w, w.op("GatherND", boxes, places)), axis=1)
    empty = np.zeros((keep, 7), np.float32)
    empty[0, 0] = -1
    filled = w.slice(w.op("Concat", rows, w.constant(empty), axis=0), 0, 0, keep)
    return w.reshape(filled, 1, 1, keep, 7)


def _check(op: Operation) -> None:
    given = op.attributes
    op.refuse_unless(len(op) == 3 and op.sizes(1)[0] == 1, "more than one image, or additional predictions")
    coded = str(given["code_type"]).lower().endswith("center_size")
    plain = bool(given["normalized"]) and bool(given["share_location"]) and not given["decrease_label_id"]
    op.refuse_unless(coded and plain, "boxes that are not shared, not normalized or coded by their corners")
    op.refuse_unless(int(next(iter(given["keep_top_k"]))) > 0, "a result of changing size")


def _boxes(op: Operation, w: Writer, priors: int) -> ir.Value:
    """Corners [1, priors, 4] of all boxes."""
    offsets = w.reshape(op.input(0), 1, priors, 4)
    known = op.constant(2).astype(np.float32).reshape(-1, priors, 4)
    corners = known[0]
    size = corners[:, 2:] - corners[:, :2]
    centre = (corners[:, 2:] + corners[:, :2]) / 2
    variance = np.ones((priors, 4), np.float32)
    if not op.attributes["variance_encoded_in_target"]:
        variance = known[1]
    moved, scaled = w.slice(offsets, 2, 0, 2), w.slice(offsets, 2, 2, 4)
    middle = w.op("Add", w.op("Mul", moved, w.constant(variance[:, :2] * size)), w.constant(centre))
    half = w.op("Mul", w.op("Exp", w.op("Mul", scaled, w.constant(variance[:, 2:]))), w.constant(size / 2))
    boxes = w.op("Concat", w.op("Sub", middle, half), w.op("Add", middle, half), axis=2)
    return w.op("Clip", boxes, w.like(0, op), w.like(1, op)) if op.attributes.get("clip_before_nms") else boxes


def _clipped(op: Operation, w: Writer, boxes: ir.Value) -> ir.Value:
    return w.op("Clip", boxes, w.like(0, op), w.like(1, op)) if op.attributes.get("clip_after_nms") else boxes


def _best(w: Writer, scores: ir.Value, keep: int) -> ir.Value:
    """Where the ``keep`` largest are, in the order of their places."""
    count = w.op("Min", w.op("Shape", scores), w.integers(keep))
    best = w.ops("TopK", [scores, count], 2, axis=0)[1]
    return w.ops("TopK", [best, count], 2, axis=0, largest=0)[0]


TABLE: Final[dict[str, Callable[[Operation, Writer], ir.Value]]] = {"DetectionOutput": _detection_output}
