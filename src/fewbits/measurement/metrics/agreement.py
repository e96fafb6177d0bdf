"""Agreement: does the candidate decide as the FP32 model does? Needs no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Evidence, Outputs, mean, values
from fewbits.measurement.metrics.outputs import NO_CLASS, class_map, class_scores, shapes


@dataclass(frozen=True)
class Agreement:
    """The same top-1 class as the FP32 model, or the share of pixels with the same class.

    Evidence of a classifier is 1 or 0, that of a segmentation [1, K, H, W] a float from 0 to 1.
    A NaN agrees with nothing, not even with another NaN.
    """

    name: str = "agreement"
    needs_labels: bool = False
    needs_reference: bool = True

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> int | float:  # noqa: ARG002
        """1 or 0 for scores [1, K], the share of equal pixels for [1, K, H, W].

        Raises:
            DataError: no reference, a reference of another shape, or outputs that decide on no class.
        """
        if reference is None:
            raise DataError("agreement needs the FP32 model's outputs of the same sample")
        mine, theirs = class_scores(outputs), class_scores(reference)
        if mine is not None and theirs is not None and len(mine) == len(theirs):
            if np.isnan(mine).any() or np.isnan(theirs).any():
                return 0
            return int(np.argmax(mine) == np.argmax(theirs))
        map_here, map_there = class_map(outputs), class_map(reference)
        if map_here is not None and map_there is not None and map_here[0].shape == map_there[0].shape:
            same = (map_here[0] == map_there[0]) & (map_here[0] != NO_CLASS)
            return float(same.mean())
        raise DataError(
            "agreement needs class scores [1, K] or [1, K, H, W], the same for both models; "
            f"the candidate gives {shapes(outputs)}, the reference {shapes(reference)}",
            fix="use --metric cosine, which compares outputs of any shape",
        )

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The mean agreement of the samples.

        Raises:
            DataError: there is no sample.
        """
        return mean(self.per_sample(evidence))

    def per_sample(self, evidence: Sequence[Evidence]) -> NDArray[np.float64]:
        """The agreement of each sample, 0 to 1."""
        return values(evidence)
