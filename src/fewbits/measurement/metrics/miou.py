"""Mean intersection over union of a semantic segmentation.

    IoU_c = TP_c / (TP_c + FP_c + FN_c)        mIoU = mean of IoU_c over the classes present

with pixels counted over the whole set (as PASCAL VOC and Cityscapes do), not image by image.
"Present" means present in the masks: a class that is only predicted harms the classes it stole pixels
from, but adds no term, so that all candidates are averaged over the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Evidence, Outputs
from fewbits.measurement.metrics.outputs import class_map, shapes

IGNORED = 255
"""The mask value of pixels that count for nothing."""


@dataclass(frozen=True)
class MeanIoU:
    """mIoU of scores [1, K, H, W] (or classes [1, H, W]) against masks [H, W].

    Evidence is int64 [3, K]: for each class the pixels that are right (TP), the pixels of the mask
    (TP + FN) and the pixels predicted (TP + FP). Pixels with a NaN are predicted as no class.
    """

    name: str = "miou"
    needs_labels: bool = True
    needs_reference: bool = False
    resamples: int = 1000

    def observe(
        self,
        outputs: Outputs,
        target: object | None,
        reference: Outputs | None,  # noqa: ARG002
    ) -> NDArray[np.int64]:
        """The pixel counts [3, K] of one sample.

        Raises:
            DataError: no output is a class map, or the mask is of another size or holds other classes.
        """
        found = class_map(outputs)
        if found is None:
            raise DataError(
                f"miou needs one output of class scores [1, K, H, W], the model gives {shapes(outputs)}",
                fix="choose another --metric",
            )
        predicted, count = found
        mask = _mask(target, predicted.shape)
        counted = mask != IGNORED
        truth, guess = mask[counted], predicted[counted]
        if count is None:
            count = 1 + max(int(truth.max(initial=0)), int(guess.max(initial=0)))
        strange = truth[(truth < 0) | (truth >= count)]
        if len(strange):
            raise DataError(
                f"the mask holds class {strange[0]}, the model knows 0..{count - 1}",
                fix=f"check --label-offset, and mark pixels to leave out with {IGNORED}",
            )
        right = np.bincount(truth[truth == guess], minlength=count)
        return np.stack(
            [right, np.bincount(truth, minlength=count), np.bincount(guess[guess >= 0], minlength=count)]
        ).astype(np.int64)

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The mIoU of the whole set.

        Raises:
            DataError: no pixel of any mask counts.
        """
        counts = [np.asarray(part) for part in evidence]
        # Class maps without scores do not tell K, so samples may know different numbers of classes.
        total = np.zeros((3, max((part.shape[1] for part in counts), default=0)), dtype=np.int64)
        for part in counts:
            total[:, : part.shape[1]] += part
        right, truth, guess = total
        present = truth > 0
        if not present.any():
            raise DataError("no mask holds a pixel to score", fix="check the masks and their ignored value")
        union = truth[present] + guess[present] - right[present]
        return float((right[present] / union).mean())

    def per_sample(self, evidence: Sequence[Evidence]) -> None:  # noqa: ARG002
        """None: mIoU is a property of the set."""
        return


def _mask(target: object | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The target as int64 [H, W], checked against the size of the prediction."""
    array = np.asarray(target)
    if target is None or not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise DataError("miou needs an integer mask [H, W] for every sample", fix="give --masks DIR")
    squeezed = array.reshape(array.shape[-2:]) if array.ndim > 2 and array.size == np.prod(shape) else array
    if squeezed.shape != shape:
        raise DataError(
            f"the mask is {list(array.shape)}, the model's output {list(shape)}",
            fix="resize the masks as the images are resized",
        )
    return squeezed.astype(np.int64)
