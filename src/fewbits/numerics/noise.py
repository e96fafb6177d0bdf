"""How far one tensor is from another: the measures of a layer-by-layer comparison.

Equations, with reference r and other o::

    sqnr_db        = 10 log10( sum r**2 / sum (r - o)**2 )
    relative_error = ||r - o|| / ||r||
    cosine         = <r, o> / (||r|| ||o||)

Cosine does not see a doubled scale; SQNR does, so decisions are made with SQNR.
Where a value is not finite on either side and they differ, the noise is infinite: the worst, never NaN.
Sums are taken in float64, block by block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK_ELEMENTS = 1 << 15


@dataclass
class NoiseSum:
    """Running sums of a comparison; tensors need not be kept. `add` changes it, `merge` makes a new one.

    Attributes:
        signal_energy: sum of the squares of the reference, in its unit squared.
        noise_energy: sum of the squared differences.
        max_abs: largest absolute difference.
        count: elements compared.
    """

    signal_energy: float = 0.0
    noise_energy: float = 0.0
    max_abs: float = 0.0
    count: int = 0

    def add(self, reference: ArrayLike, other: ArrayLike) -> None:
        """Compare two arrays of one shape. Raises ValueError if the shapes differ."""
        r_all, o_all = _flat_pair(reference, other)
        for start in range(0, r_all.size, _BLOCK_ELEMENTS):
            r = r_all[start : start + _BLOCK_ELEMENTS].astype(np.float64)
            o = o_all[start : start + _BLOCK_ELEMENTS].astype(np.float64)
            with np.errstate(invalid="ignore"):
                noise = np.abs(o - r)
            wild = ~np.isfinite(noise)
            if wild.any():
                same = (r == o) | (np.isnan(r) & np.isnan(o))
                noise[wild] = np.where(same[wild], 0.0, np.inf)
                r[~np.isfinite(r)] = 0.0
            self.signal_energy += float(np.dot(r, r))
            self.noise_energy += float(np.dot(noise, noise))
            self.max_abs = max(self.max_abs, float(noise.max()))
            self.count += r.size

    def merge(self, other: NoiseSum) -> NoiseSum:
        """The sums of both; the order matters only to the last digit."""
        return NoiseSum(
            self.signal_energy + other.signal_energy,
            self.noise_energy + other.noise_energy,
            max(self.max_abs, other.max_abs),
            self.count + other.count,
        )

    @property
    def sqnr_db(self) -> float:
        """Signal to noise in dB: inf without noise, -inf for a zero reference or infinite noise."""
        if self.noise_energy == 0.0:
            return math.inf
        if self.signal_energy == 0.0 or math.isinf(self.noise_energy):
            return -math.inf
        return 10.0 * (math.log10(self.signal_energy) - math.log10(self.noise_energy))

    @property
    def relative_error(self) -> float:
        """Noise to signal as a ratio of norms: 0 without noise, inf for a zero reference."""
        if self.noise_energy == 0.0:
            return 0.0
        if self.signal_energy == 0.0:
            return math.inf
        return math.sqrt(self.noise_energy / self.signal_energy)

    @property
    def rms(self) -> float:
        """Root of the mean squared difference, in the unit of the reference; 0 for no elements."""
        return math.sqrt(self.noise_energy / self.count) if self.count else 0.0


def _compare(reference: ArrayLike, other: ArrayLike) -> NoiseSum:
    noise = NoiseSum()
    noise.add(reference, other)
    return noise


def sqnr_db(reference: ArrayLike, other: ArrayLike) -> float:
    """Signal to quantization noise in dB; see `NoiseSum.sqnr_db`. Raises ValueError if shapes differ."""
    return _compare(reference, other).sqnr_db


def relative_error(reference: ArrayLike, other: ArrayLike) -> float:
    """``||r - o|| / ||r||``; see `NoiseSum.relative_error`. Raises ValueError if shapes differ."""
    return _compare(reference, other).relative_error


def max_abs(a: ArrayLike, b: ArrayLike) -> float:
    """The largest absolute difference, in the unit of the arrays. Raises ValueError if shapes differ."""
    return _compare(a, b).max_abs


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of the angle between two arrays of one shape, -1 to 1.

    Two zero arrays give 1, one zero array 0, a value that is not finite on either side NaN.

    Raises:
        ValueError: the shapes differ.
    """
    a_, b_ = (flat.astype(np.float64) for flat in _flat_pair(a, b))
    if not (np.isfinite(a_).all() and np.isfinite(b_).all()):
        return math.nan
    # Divided by the largest value first, so that no square overflows or vanishes.
    a_peak, b_peak = (float(np.abs(v).max(initial=0.0)) for v in (a_, b_))
    if a_peak == 0.0 or b_peak == 0.0:
        return 1.0 if a_peak == b_peak else 0.0
    a_, b_ = a_ / a_peak, b_ / b_peak
    ratio = float(np.dot(a_, b_)) / math.sqrt(float(np.dot(a_, a_)) * float(np.dot(b_, b_)))
    return max(-1.0, min(1.0, ratio))


def _flat_pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    a_, b_ = np.asarray(a), np.asarray(b)
    if a_.shape != b_.shape:
        raise ValueError(f"cannot compare shapes {list(a_.shape)} and {list(b_.shape)}")
    return a_.reshape(-1), b_.reshape(-1)
