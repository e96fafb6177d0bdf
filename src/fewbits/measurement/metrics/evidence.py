"""What a metric keeps of a sample, what a metric is, and how evidence stands in a journal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
"""What a session returned for one sample: output name → array with a batch axis of 1."""

Evidence: TypeAlias = "int | float | NDArray[Any] | tuple[Evidence, ...]"
"""What is left of one sample once its outputs are thrown away: a few bytes to a few kilobytes."""

Json: TypeAlias = "int | float | str | list[Json] | dict[str, Json]"


class Metric(Protocol):
    """Judges one candidate sample by sample; higher is better.

    ``needs_labels`` asks for a target with every sample, ``needs_reference`` for the FP32 model's
    outputs of the same sample. Metrics hold no state: what they learned is the evidence.
    """

    @property
    def name(self) -> str:
        """The name the user gives and the report shows."""

    @property
    def needs_labels(self) -> bool:
        """Whether :meth:`observe` must get a target."""

    @property
    def needs_reference(self) -> bool:
        """Whether :meth:`observe` must get the FP32 outputs of the same sample."""

    def observe(self, outputs: Outputs, target: object | None, reference: Outputs | None) -> Evidence:
        """Boil the outputs of one sample down to evidence.

        Raises:
            DataError: the outputs or the target are not what this metric judges.
        """

    def score(self, evidence: Sequence[Evidence]) -> float:
        """The whole set's score, a fraction from 0 to 1.

        Raises:
            DataError: the evidence holds nothing to score (no sample, no class, no box).
        """

    def per_sample(self, evidence: Sequence[Evidence]) -> NDArray[np.float64] | None:
        """Scores [samples] whose mean is :meth:`score`; None where the set's score is no such mean."""


@runtime_checkable
class SetMetric(Metric, Protocol):
    """A metric scored only as a set, which says how many bootstrap resamples its cost allows."""

    @property
    def resamples(self) -> int:
        """The most resamples an interval should spend on this metric."""


def values(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Evidence that is one number a sample, as scores [samples].

    Raises:
        DataError: there is no sample.
    """
    if not evidence:
        raise DataError("there is no sample to score", fix="give a data set with at least one sample")
    return np.asarray(evidence, dtype=np.float64)


def mean(scores: NDArray[np.float64]) -> float:
    """The exactly rounded mean, so that a set's score does not depend on the order of its samples."""
    return math.fsum(scores.tolist()) / len(scores)


def to_json(evidence: Evidence) -> Json:
    """Evidence as plain JSON values; :func:`from_json` gives back an equal one.

    Array [2, 3] → ``{"array": "int64", "shape": [2, 3], "values": [six numbers]}``; tuple → list.
    """
    if isinstance(evidence, tuple):
        return [to_json(part) for part in evidence]
    if isinstance(evidence, np.ndarray):
        return {
            "array": str(evidence.dtype),
            "shape": list(evidence.shape),
            "values": evidence.ravel().tolist(),
        }
    # NumPy scalars are not JSON; item() is the Python number of the same value.
    return evidence.item() if isinstance(evidence, np.generic) else evidence


def from_json(value: Json) -> Evidence:
    """Evidence from the JSON values that :func:`to_json` wrote.

    Raises:
        ValueError: the value is not evidence.
    """
    match value:
        case list():
            return tuple(from_json(part) for part in value)
        case {"array": str(dtype), "shape": list(shape), "values": list(numbers)}:
            return np.array(numbers, dtype=dtype).reshape([int(str(size)) for size in shape])
        case int() | float():
            return value
        case _:
            raise ValueError(f"not evidence: {value!r}")
