"""Reads the boxes of an image out of a detection target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.data.sample import CocoTarget
from fewbits.errors import DataError


@dataclass(frozen=True)
class Truth:
    """What is to be found in an image of ``width`` x ``height`` pixels.

    ``categories`` int64 [M], ``boxes`` float64 [M, 4] (x, y, width, height in pixels), ``crowd`` bool [M]:
    COCO's crowd regions, which need not be found and make no detection inside them wrong.
    """

    width: int
    height: int
    categories: NDArray[np.int64]
    boxes: NDArray[np.float64]
    crowd: NDArray[np.bool_]


def truth(target: object | None) -> Truth:
    """The boxes of a ``CocoTarget``, or of any record that holds them as arrays.

    Such a record (from a ``module:function`` data set) has the attributes ``width``, ``height``, ``boxes``
    [M, 4], ``categories`` [M] and, where there are crowds, ``crowd`` [M], as :class:`Truth` describes them.

    Raises:
        DataError: the target holds no boxes, or not one category for each.
    """
    if isinstance(target, CocoTarget):
        boxes: Any = [(box.x, box.y, box.width, box.height) for box in target.boxes]
        categories: Any = [box.category_id for box in target.boxes]
        crowd: Any = [box.crowd for box in target.boxes]
        width, height = target.width, target.height
    else:
        record: Any = target
        try:
            boxes, categories = record.boxes, record.categories
            width, height = record.width, record.height
        except AttributeError as error:
            raise DataError(
                "average precision needs boxes for every sample",
                fix="give a COCO annotations file with --images",
            ) from error
        crowd = getattr(record, "crowd", np.zeros(len(categories)))
    found = Truth(
        width=int(width),
        height=int(height),
        categories=np.asarray(categories, dtype=np.int64).reshape(-1),
        boxes=np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
        crowd=np.asarray(crowd, dtype=np.bool_).reshape(-1),
    )
    if not len(found.boxes) == len(found.categories) == len(found.crowd):
        raise DataError(f"the target has {len(found.boxes)} boxes and {len(found.categories)} categories")
    return found
