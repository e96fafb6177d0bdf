"""Range estimators: from what calibration saw to the range a value is quantized in.

Each one is ``f(evidence, format, symmetric) -> (low, high)`` with low <= 0 <= high inside what was seen.
If symmetric, quantize with the magnitude ``max(-low, high)``. A new one is a file and a line in METHODS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fewbits.numerics.evidence import RangeEvidence
from fewbits.numerics.formats import IntegerFormat
from fewbits.numerics.range_entropy import entropy
from fewbits.numerics.range_mse import mse
from fewbits.numerics.range_percentile import percentile

__all__ = [
    "METHODS",
    "RangeEstimator",
    "RangeEvidence",
    "entropy",
    "estimate",
    "minmax",
    "mse",
    "percentile",
]

RangeEstimator = Callable[[RangeEvidence, IntegerFormat, bool], tuple[float, float]]


def minmax(evidence: RangeEvidence, format: IntegerFormat, symmetric: bool) -> tuple[float, float]:
    """All that was seen: nothing is clipped."""
    return evidence.clip(evidence.minimum, evidence.maximum, format, symmetric)


# The favourite first. The slowest second: variants are then tried beside it, and the last ones are done quickly.
METHODS: Mapping[str, RangeEstimator] = MappingProxyType(
    {
        "mse": mse,
        "entropy": entropy,
        "percentile": percentile,
        "minmax": minmax,
    }
)


def estimate(method: str, evidence: RangeEvidence, format: IntegerFormat, symmetric: bool) -> tuple[float, float]:
    """The range (low, high) by the method of that name, in the unit of the tensor.

    Raises:
        ValueError: the method is not in METHODS.
    """
    if method not in METHODS:
        raise ValueError(f"unknown range method {method!r}; known are {', '.join(METHODS)}")
    return METHODS[method](evidence, format, symmetric)
