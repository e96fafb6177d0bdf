"""What calibration saw, as a record: mergeable, saved with the fingerprints of the model and the samples."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import InputError
from fewbits.files import whole_file
from fewbits.numerics import INT8, METHODS, UINT8, Histogram, RangeEvidence, estimate

_VERSION = 4
_PER_CHANNEL = ("minimum", "maximum", "mean", "square")
_HISTOGRAM_SCALARS = ("exponent", "zeros", "nonfinite")
# All that reading a damaged or foreign .npz has been seen to raise.
_MALFORMED = (OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ValueStatistics:
    """One activation over all samples.

    Args:
        minimum, maximum: extremes per channel, f32[C].
            A minimum that an operator keeps from being negative is given as 0.
        mean, square: of x and x**2 per channel, over the same positions as the histogram, f64[C].
        histogram: of a grid of positions in every sample; the extremes above are of all positions.
    """

    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]
    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    histogram: Histogram

    def evidence(self) -> RangeEvidence:
        """What range estimators read."""
        return RangeEvidence(float(self.minimum.min()), float(self.maximum.max()), self.histogram)


@dataclass(frozen=True)
class Statistics:
    """All tapped activations of one model over ``count`` samples.

    Args:
        unusable: values that were asked for and have no statistics, each with the rest of a sentence that says why.
    """

    model: str
    samples: str
    count: int
    values: Mapping[str, ValueStatistics]
    unusable: Mapping[str, str] = field(default_factory=dict)

    def ranges(
        self, method: str, *, symmetric: bool, names: Collection[str] | None = None
    ) -> dict[str, tuple[float, float]]:
        """(low, high) of values by the method of that name.

        Args:
            symmetric: values that go below zero will be INT8 around zero; their threshold is sought as such.
            names: of which values; None for all.

        Raises:
            ValueError: no such method.
        """
        found = {}
        for name in self.values if names is None else names:
            value = self.values[name]
            evidence = value.evidence()
            signed = symmetric and evidence.minimum < 0
            found[name] = estimate(method, evidence, INT8 if signed else UINT8, signed)
        return found

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of both sample sets together.

        Raises:
            ValueError: they are of different models or values.
        """
        if self.model != other.model or self.values.keys() != other.values.keys():
            raise ValueError("only statistics of the same values of one model can be merged")
        total = self.count + other.count
        merged = {}
        for name, a in self.values.items():
            b = other.values[name]
            merged[name] = ValueStatistics(
                np.minimum(a.minimum, b.minimum),
                np.maximum(a.maximum, b.maximum),
                (a.mean * self.count + b.mean * other.count) / max(total, 1),
                (a.square * self.count + b.square * other.count) / max(total, 1),
                a.histogram.merge(b.histogram),
            )
        unusable = {**self.unusable, **other.unusable}
        return replace(self, samples=f"{self.samples}+{other.samples}", count=total, values=merged, unusable=unusable)

    def save(self, path: Path) -> None:
        """Write as ``.npz``, whole or not at all.

        All values lie one behind another in a few arrays: an archive of one array a channel list took longer to write
        than the model.
        """
        values = list(self.values.values())
        histograms = [value.histogram.to_arrays() for value in values]
        header = {
            "version": _VERSION,
            "model": self.model,
            "samples": self.samples,
            "count": self.count,
            "unusable": dict(self.unusable),
            "values": list(self.values),
            "channels": [value.minimum.size for value in values],
            "bins": [held["counts"].size for held in histograms],
            **{key: [int(held[key]) for held in histograms] for key in _HISTOGRAM_SCALARS},
        }
        arrays = {key: np.concatenate([[], *(getattr(value, key) for value in values)]) for key in _PER_CHANNEL}
        counts = np.concatenate([np.empty(0, np.int64), *(held["counts"].reshape(-1) for held in histograms)])
        with whole_file(path) as scratch, scratch.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, header=np.array(json.dumps(header)), counts=counts, **arrays)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read what ``save`` wrote.

        Raises:
            InputError: not such a file.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                header = json.loads(str(arrays["header"]))
                if header["version"] != _VERSION:
                    raise ValueError(f"version {header['version']}, this fewbits reads {_VERSION}")
                parts = {key: _cut(arrays[key], header["channels"]) for key in _PER_CHANNEL}
                counts = _cut(arrays["counts"], header["bins"])
            values = {}
            for index, name in enumerate(header["values"]):
                scalars = {key: np.array(header[key][index], np.int64) for key in _HISTOGRAM_SCALARS}
                values[name] = ValueStatistics(
                    parts["minimum"][index].astype(np.float32),
                    parts["maximum"][index].astype(np.float32),
                    parts["mean"][index],
                    parts["square"][index],
                    Histogram.from_arrays({"counts": counts[index], **scalars}),
                )
            unusable = {str(name): str(reason) for name, reason in header["unusable"].items()}
            return cls(header["model"], header["samples"], int(header["count"]), values, unusable)
        except _MALFORMED as error:
            raise InputError(
                f"not a statistics file: {error}", where=str(path), fix="remove it to collect anew"
            ) from error


def _cut(array: NDArray[Any], sizes: Sequence[int]) -> list[NDArray[Any]]:
    """An array as the parts it was joined from.

    Raises:
        ValueError: the sizes are not those of its parts.
    """
    if min(sizes, default=0) < 0 or sum(sizes) != array.size:
        raise ValueError("its parts do not add up")
    return np.split(array, np.cumsum(sizes)[:-1]) if sizes else []


def check_method(method: str) -> None:
    """Raise ``InputError`` that lists the methods where this is none."""
    if method != "auto" and method not in METHODS:
        raise InputError(f"unknown method '{method}'", where="--method", fix=f"one of auto, {', '.join(METHODS)}")
