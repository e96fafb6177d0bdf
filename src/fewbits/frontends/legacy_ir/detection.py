"""DetectionOutput (SSD, Liu et al. 2016): offsets become boxes, the best of each class that overlap too little stay.

Inputs: offsets [1, 4 P], scores [1, C P] (C for each box), boxes with variances [1, 2, 4 P]. Output [1, 1, K, 7]:
image, class, score, x1, y1, x2, y2. Rows are ordered by score; behind the last detection every row begins with -1 (the
layer of 2019 went class by class, and wrote -1 in one row only).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site

# Below every score and every threshold, and finite.
_NEVER = -3.0e38
_LEAST = -1.0e30
_MOST_SCORES = 1 << 26
_MOST_ROWS = 1 << 20


def detection_output(at: Site) -> ir.Value:
    """As above, for one image and boxes that all classes share."""
    at.need(3)
    classes = at.whole("num_classes")
    boxes, rest = divmod(at.shapes[2][-1], 4)
    _refuse_rare(at, classes, boxes, rest)
    corners = _decoded(at, boxes)
    scores = _scores(at, classes, boxes)
    limits = at.real("nms_threshold"), max(at.real("confidence_threshold", _LEAST), _LEAST)
    thresholds = [at.const(f"limit_{i}", np.array([limit], np.float32)) for i, limit in enumerate(limits)]
    found = at.op("NonMaxSuppression", corners, scores, at.indices("most", [boxes]), *thresholds)  # [M, 3]
    return _rows(at, found, corners, scores)


def _refuse_rare(at: Site, classes: int, boxes: int, rest: int) -> None:
    rare = {
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


def _decoded(at: Site, boxes: int) -> ir.Value:
    """Corners [1, P, 4] from offsets t and variances v: p + v t, or by the boxes' centres c and sizes s.

    c' = c + v t s,  s' = s exp(v t)
    """
    offsets = at.reshaped(at.inputs[0], (1, boxes, 4))
    encoded = at.flag("variance_encoded_in_target")
    if at.shapes[2][1] != (1 if encoded else 2):
        raise at.fail(f"its boxes are {list(at.shapes[2])}")
    parts = at.reshaped(at.inputs[2], (1 if encoded else 2, boxes, 4))
    priors = _cut(at, parts, 0, 0, 1)
    if not encoded:
        offsets = at.op("Mul", offsets, _cut(at, parts, 0, 1, 2))
    if at.text("code_type", "CORNER").rpartition(".")[2].upper() == "CORNER":
        corners = at.op("Add", priors, offsets)
    else:
        first, last = (_cut(at, priors, 2, begin, begin + 2) for begin in (0, 2))
        half, size = at.numbers("half", 0.5), at.op("Sub", last, first)
        moved = at.op("Mul", _cut(at, offsets, 2, 0, 2), size)
        centre = at.op("Add", at.op("Mul", at.op("Add", first, last), half), moved)
        reach = at.op("Mul", at.op("Mul", at.op("Exp", _cut(at, offsets, 2, 2, 4)), size), half)
        corners = at.op("Concat", at.op("Sub", centre, reach), at.op("Add", centre, reach), axis=2)
    return _clipped(at, corners) if at.flag("clip_before_nms") or at.flag("clip") else corners


def _scores(at: Site, classes: int, boxes: int) -> ir.Value:
    """Scores [1, C, P]; the background's, and of each class all but the ``top_k`` best, below every threshold."""
    scores = at.op("Transpose", at.reshaped(at.inputs[1], (1, boxes, classes)), perm=[0, 2, 1])
    background, count = at.whole("background_label_id", 0), at.whole("top_k", -1)
    never = at.numbers("never", _NEVER)
    if 0 <= background < classes:
        kept = at.const("classes", (np.arange(classes) != background).reshape(1, -1, 1))
        scores = at.op("Where", kept, scores, never)
    if not 0 < count < boxes:
        return scores
    best = at.tape.op_multi_out("TopK", [scores, at.indices("top_k", [count])], {"axis": 2}, num_outputs=2)[0]
    least = _cut(at, best, 2, count - 1, count)
    return at.op("Where", at.op("GreaterOrEqual", scores, least), scores, never)


def _rows(at: Site, found: ir.Value, corners: ir.Value, scores: ir.Value) -> ir.Value:
    """The K best of ``found`` [M, 3] (image, class, box), filled up with rows that begin with -1."""
    count = at.out[2]
    scored = at.reshaped(at.op("GatherND", scores, found), (-1, 1))
    where = at.op("Gather", found, at.indices("image_and_box", [0, 2]), axis=1)
    placed = at.op("GatherND", corners, where)
    if at.flag("clip_after_nms"):
        placed = _clipped(at, placed)
    labels = at.op("Cast", _cut(at, found, 1, 0, 2), to=ir.DataType.FLOAT)
    rows = at.op("Concat", labels, scored, placed, axis=1)
    empty = np.zeros((count, 7), np.float32)
    empty[:, 0] = -1.0
    rows = at.op("Concat", rows, at.const("empty", empty), axis=0)
    order = at.op("Concat", scored, at.const("last", np.full((count, 1), _NEVER, np.float32)), axis=0)
    best = at.tape.op_multi_out("TopK", [order, at.indices("count", [count])], {"axis": 0}, num_outputs=2)[1]
    return at.reshaped(at.op("Gather", rows, at.reshaped(best, (-1,)), axis=0), at.out)


def _cut(at: Site, value: ir.Value, axis: int, begin: int, end: int) -> ir.Value:
    bounds = (at.indices(kind, [number]) for kind, number in (("begin", begin), ("end", end), ("axis", axis)))
    return at.op("Slice", value, *bounds)


def _clipped(at: Site, value: ir.Value) -> ir.Value:
    return at.op("Clip", value, at.numbers("zero", 0.0), at.numbers("one", 1.0))
