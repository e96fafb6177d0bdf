"""Keep the central share of the values, clip the tails.

With N values other than zero and the share s, each end moves inward, bin by bin, as long as::

    count beyond the end <= (1 - s) * N / 2      affine, each end
    count beyond the end <= (1 - s) * N          symmetric, on the magnitude

Zeros do not count: after a ReLU they may be nearly everything, and would leave no range at all.
"""

from __future__ import annotations

from fewbits.numerics.evidence import RangeEvidence, reach
from fewbits.numerics.formats import IntegerFormat


def percentile(
    evidence: RangeEvidence, format: IntegerFormat, symmetric: bool, *, share: float = 0.9999
) -> tuple[float, float]:
    """The central `share` of the values other than zero, within what was seen.

    The ends are outer borders of bins, so never less than the share is kept, and fewer than
    ``1 / (1 - share)`` values are all kept.

    Raises:
        ValueError: the share is not in (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a share is in (0, 1], not {share}")
    negative, positive = evidence.sides(format, symmetric)
    total = float(negative.sum() + positive.sum())
    if not total:
        return evidence.clip(evidence.minimum, evidence.maximum, format, symmetric)
    # Not (1 - share) * total: that is 9.999... for 0.9999 of 100000 and would keep one value more.
    tail = (total - share * total) / (1 if symmetric else 2)
    width = evidence.histogram.width
    high = reach(positive, tail) * width
    low = -high if symmetric else -reach(negative, tail) * width
    return evidence.clip(low, high, format, symmetric)
