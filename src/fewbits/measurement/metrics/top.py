"""Top-k accuracy: the share of samples whose label is among the k highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.measurement.metrics.evidence import Evidence, Outputs, mean, values
from fewbits.measurement.metrics.outputs import class_scores, label, shapes


@dataclass(frozen=True)
class Top:
    """Whether the label is among the ``k`` highest scores; evidence is 1 (right) or 0 (wrong).

    Equal scores rank by the lower index, as argmax does. Outputs that hold a NaN are wrong whatever the
    label is: a broken candidate must not score as if it always said class 0.
    """

    k: int = 1

    @property
    def name(self) -> str:
        """``top1``, ``top5``, …."""
        return f"top{self.k}"

    @property
    def needs_labels(self) -> bool:
        """Always: the label is what the scores are held against."""
        return True

    @property
    def needs_reference(self) -> bool:
        """Never."""
        return False

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> int:  # noqa: ARG002
        """1 where the label is among the k best of the scores [1, K], else 0.

        Raises:
            DataError: no output holds class scores, K <= k, or the label is not in 0..K-1.
        """
        scores = class_scores(outputs)
        if scores is None:
            raise DataError(
                f"{self.name} needs one output of class scores [1, K], the model gives {shapes(outputs)}",
                fix="choose another --metric",
            )
        if len(scores) <= self.k:
            raise DataError(f"{self.name} of {len(scores)} classes is always right", fix="choose --metric top1")
        wanted = label(target)
        if not 0 <= wanted < len(scores):
            raise DataError(
                f"label {wanted} is not among the model's {len(scores)} classes (0..{len(scores) - 1})",
                fix="check the labels and --label-offset",
            )
        if np.isnan(scores).any():
            return 0
        # A stable sort of the negated scores keeps the lower index first among equals.
        return int(wanted in np.argsort(-scores, kind="stable")[: self.k])

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The share of samples that are right.

        Raises:
            DataError: there is no sample.
        """
        return mean(self.per_sample(evidence))

    def per_sample(self, evidence: Sequence[Evidence]) -> NDArray[np.float64]:
        """1.0 or 0.0 for each sample."""
        return values(evidence)
