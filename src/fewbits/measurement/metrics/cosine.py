"""Cosine similarity with the FP32 outputs, for models whose outputs no other metric understands.

    cosine(x, r) = x·r / (‖x‖ ‖r‖)

It is blind to scale: outputs that are all doubled score 1. Where the size of the outputs matters
(regression, logits that are thresholded) give a ``module:function`` metric instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Evidence, Outputs, mean, values
from fewbits.measurement.metrics.outputs import shapes


@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle between all outputs of a sample, joined into one vector, and the FP32 ones.

    Evidence is a float from 0 to 1: an obtuse angle is as useless as a right one and counts as 0, so
    does anything not finite. Two vectors of zeros are the same: 1.
    """

    name: str = "cosine"
    needs_labels: bool = False
    needs_reference: bool = True

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> float:  # noqa: ARG002
        """The similarity of this sample.

        Raises:
            DataError: no reference, or its names or shapes differ from the candidate's.
        """
        if reference is None:
            raise DataError("cosine needs the FP32 model's outputs of the same sample")
        same_names = set(outputs) == set(reference)
        if not same_names or any(outputs[name].shape != reference[name].shape for name in reference):
            raise DataError(
                f"cosine needs the same outputs from both models; the candidate gives {shapes(outputs)}, "
                f"the reference {shapes(reference)}",
                fix="compare models with the same outputs",
            )
        mine, theirs = _joined(outputs, list(reference)), _joined(reference, list(reference))
        if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
            return 0.0
        # Divided by the largest magnitude first, so that no square overflows or vanishes.
        size, their_size = np.abs(mine).max(initial=0.0), np.abs(theirs).max(initial=0.0)
        if size == 0.0 or their_size == 0.0:
            return 1.0 if size == their_size else 0.0
        if np.array_equal(mine, theirs):
            return 1.0
        x, r = mine / size, theirs / their_size
        return float(np.clip(x @ r / (np.linalg.norm(x) * np.linalg.norm(r)), 0.0, 1.0))

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The mean similarity of the samples.

        Raises:
            DataError: there is no sample.
        """
        return mean(self.per_sample(evidence))

    def per_sample(self, evidence: Sequence[Evidence]) -> NDArray[np.float64]:
        """The similarity of each sample, 0 to 1."""
        return values(evidence)


def _joined(outputs: Outputs, names: Sequence[str]) -> NDArray[np.float64]:
    parts = [outputs[name].astype(np.float64).ravel() for name in names]
    return np.concatenate(parts) if parts else np.zeros(0)
