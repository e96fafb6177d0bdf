"""COCO average precision (mAP@[.5:.95] and mAP@.5) from evidence of a few numbers a detection.

    AP_{c,t} = 1/101 · sum over r in {0, .01, …, 1} of max { precision_{c,t}(r') : r' >= r }

for category c at IoU threshold t; mAP is its mean over thresholds and over the categories that have a box
(T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context"; pycocotools ``COCOeval``).

Which detection is matched to which box is decided within an image, so pycocotools decides it once, in
``observe``. What is left, sorting all detections by score and summing, is the same whatever the set, so
that a bootstrap over images need not match again.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.detections import detections
from fewbits.measurement.metrics.evidence import Evidence, Outputs
from fewbits.measurement.metrics.targets import truth

RECALLS = np.linspace(0.0, 1.0, 101)
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
MAX_DETECTIONS = 100
"""Detections of one category in one image that count, the highest scores (COCO's maxDets)."""


@dataclass(frozen=True)
class AveragePrecision:
    """Mean average precision over ``ious``.

    Evidence is two arrays: int64 [C, 2] of (category, boxes to find) and float64 [D, 4] of (category,
    score, matched, ignored), where bit t of the last two says so for threshold t; ignored is what was
    matched to a crowd.

    ``categories`` are pairs (class number of the model, category id of the data); boxes of categories not
    named there are left out. Empty: class numbers are category ids.
    """

    name: str = "map"
    ious: tuple[float, ...] = COCO_IOUS
    categories: tuple[tuple[int, int], ...] = ()
    input_size: tuple[int, int] | None = None
    needs_labels: bool = True
    needs_reference: bool = False
    resamples: int = 300  # a score costs about 15 ms for 10 000 detections of 80 categories

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> Evidence:  # noqa: ARG002
        """Match the detections of one image with its boxes.

        Raises:
            DataError: the outputs are no detections, or the target has no boxes.
        """
        wanted = truth(target)
        found = detections(outputs, self.input_size)
        corners = found[:, 2:] * np.array([wanted.width, wanted.height] * 2, dtype=np.float64)
        boxes = np.column_stack([corners[:, :2], np.maximum(corners[:, 2:] - corners[:, :2], 0.0)])
        numbers = np.rint(found[:, 0]).astype(np.int64)
        table = dict(self.categories) or {number: number for number in numbers.tolist()}
        known = np.isin(numbers, list(table))
        ids = np.array([table[number] for number in numbers[known].tolist()], dtype=np.int64)
        kept = np.isin(wanted.categories, list(table.values())) | (not self.categories)
        return _match(
            _annotations(wanted.categories[kept], wanted.boxes[kept], crowd=wanted.crowd[kept]),
            _annotations(ids, boxes[known], scores=found[known, 1]),
            self.ious,
        )

    def score(self, evidence: Sequence[Evidence]) -> float:
        """Mean average precision of the set, 0 to 1.

        Raises:
            DataError: no sample has a box to find.
        """
        pairs = [part for part in evidence if isinstance(part, tuple)]
        counts = np.concatenate([np.zeros((0, 2), np.int64), *(np.asarray(pair[0]) for pair in pairs)])
        rows = np.concatenate([np.zeros((0, 4)), *(np.asarray(pair[1]) for pair in pairs)])
        # Stable: equal scores stay in the order of the samples, as in pycocotools.
        rows = rows[np.lexsort((-rows[:, 1], rows[:, 0]))]
        precisions = []
        for category in np.unique(counts[:, 0]):
            to_find = int(counts[counts[:, 0] == category, 1].sum())
            if to_find:
                first, last = np.searchsorted(rows[:, 0], [category, category + 1])
                precisions.append(_average_precision(rows[first:last], to_find, len(self.ious)))
        if not precisions:
            raise DataError("no sample has a box to find", fix="check the annotations and their categories")
        return float(np.mean(precisions))

    def per_sample(self, evidence: Sequence[Evidence]) -> None:  # noqa: ARG002
        """None: average precision is a property of the set."""
        return


def _average_precision(rows: NDArray[np.float64], to_find: int, thresholds: int) -> float:
    """AP of one category, the mean over thresholds; rows [D, 4] sorted by falling score."""
    if not len(rows):
        return 0.0
    bit = 1 << np.arange(thresholds, dtype=np.int64)[:, None]
    matched = (rows[:, 2].astype(np.int64) & bit) > 0
    ignored = (rows[:, 3].astype(np.int64) & bit) > 0
    right = np.cumsum(matched & ~ignored, axis=1)
    wrong = np.cumsum(~matched, axis=1)
    recall = right / to_find
    precision = right / np.maximum(right + wrong, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = [np.searchsorted(line, RECALLS, side="left") for line in recall]
    # One column of zeros more: the precision at a recall that is never reached.
    padded = np.pad(envelope, ((0, 0), (0, 1)))
    return float(np.take_along_axis(padded, np.array(reached), axis=1).mean())


def _annotations(
    categories: NDArray[np.int64],
    boxes: NDArray[np.float64],
    *,
    crowd: NDArray[np.bool_] | None = None,
    scores: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """COCO annotation records of one image, numbered 1."""
    return [
        {
            "id": index + 1,  # pycocotools takes a match with id 0 for none
            "image_id": 1,
            "category_id": int(categories[index]),
            "bbox": boxes[index].tolist(),
            "area": float(boxes[index, 2] * boxes[index, 3]),
            "iscrowd": int(crowd[index]) if crowd is not None else 0,
            "score": float(scores[index]) if scores is not None else 0.0,
        }
        for index in range(len(categories))
    ]


def _match(wanted: list[dict[str, Any]], found: list[dict[str, Any]], ious: tuple[float, ...]) -> Evidence:
    """The evidence of one image, matched by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    categories = sorted({record["category_id"] for record in [*wanted, *found]})
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for records in (wanted, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": 1}],
                "categories": [{"id": number} for number in categories],
                "annotations": records,
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="bbox")
        evaluation.params.iouThrs = np.array(ious)
        evaluation.params.areaRng = [[0.0, np.inf]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
    bit = 1 << np.arange(len(ious), dtype=np.int64)
    counts, rows = [], [np.zeros((0, 4))]
    for image in evaluation.evalImgs:
        if image is None:
            continue
        category = image["category_id"]
        counts.append((category, int(np.count_nonzero(np.asarray(image["gtIgnore"]) == 0))))
        matched = bit @ (np.asarray(image["dtMatches"]) > 0)
        ignored = bit @ np.asarray(image["dtIgnore"], dtype=bool)
        scores = np.asarray(image["dtScores"], dtype=np.float64)
        rows.append(np.column_stack([np.full(len(scores), category), scores, matched, ignored]))
    return np.array(counts, dtype=np.int64).reshape(-1, 2), np.concatenate(rows)
