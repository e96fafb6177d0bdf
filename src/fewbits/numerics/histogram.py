"""A streaming histogram whose result depends on the values alone, not on order, chunks or merges.

With ``n`` bins (a power of two) of width ``2**k``, bin i covers ``[(i - n/2) * 2**k, (i - n/2 + 1) * 2**k)``.
Zero is always an edge, so doubling the width joins neighbours in pairs and loses nothing::

    floor(v / 2**(k+d)) == floor(floor(v / 2**k) / 2**d)

``k`` is the smallest exponent, from -126 up, at which all values fit. It is the maximum over the values
of what each one needs, so adding and merging are exactly associative and commutative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MIN_EXPONENT = -126  # 2**126 is the largest power of two whose inverse is a normal float32.
_BLOCK_ELEMENTS = 1 << 15


class Histogram:
    """Counts of float32 values; `add` changes it in place, `merge` makes a new one.

    One-sided data (after a ReLU) use n/2 bins, of which at least half are occupied: 1024 to 2048.

    Attributes:
        counts: i64[n], how many values fell into each bin; treat as read-only.
        exponent: k; a bin is ``2**k`` wide.
        zeros: values that were exactly zero; they are counted in bin n/2 as well. Quantization never
            changes a zero, so range estimators leave them out.
        nonfinite: NaN and infinities seen; they are in no bin.
    """

    __slots__ = ("counts", "exponent", "nonfinite", "zeros")

    def __init__(self, counts: NDArray[np.int64], exponent: int, *, zeros: int = 0, nonfinite: int = 0) -> None:
        bins = counts.size
        if counts.ndim != 1 or bins < 2 or bins & (bins - 1):
            raise ValueError(f"the number of bins must be a power of two, not {list(counts.shape)}")
        self.counts = counts
        self.exponent = exponent
        self.zeros = zeros
        self.nonfinite = nonfinite

    @classmethod
    def empty(cls, bins: int = 4096) -> Histogram:
        """A histogram of no values. Raises ValueError if `bins` is not a power of two, 2 or more."""
        return cls(np.zeros(bins, np.int64), _MIN_EXPONENT)

    @property
    def count(self) -> int:
        """The values in the bins: all that were finite."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """The width of a bin, ``2**k``, in the unit of the values."""
        return math.ldexp(1.0, self.exponent)

    def edges(self) -> NDArray[np.float64]:
        """The n+1 borders of the bins, exact."""
        half = self.counts.size // 2
        return np.arange(-half, half + 1, dtype=np.float64) * self.width

    def centers(self) -> NDArray[np.float64]:
        """The n middles of the bins, exact."""
        return self.edges()[:-1] + self.width / 2

    def add(self, values: ArrayLike) -> None:
        """Count all values of an array of any shape and real type, each taken as float32."""
        flat = np.asarray(values).reshape(-1)
        for start in range(0, flat.size, _BLOCK_ELEMENTS):
            with np.errstate(over="ignore", under="ignore"):
                block = flat[start : start + _BLOCK_ELEMENTS].astype(np.float32, copy=False)
            self._add_block(block)

    def _add_block(self, block: NDArray[np.float32]) -> None:
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = block[np.isfinite(block)]
            self.nonfinite += block.size - finite.size
            if finite.size:
                self._add_block(finite)
            return
        bins = self.counts.size
        self._grow(_exponent(low, high, bins))
        # In float32 the product is exact, but for k > 0 a tiny negative one could underflow to bin n/2.
        work = np.float32 if self.exponent <= 0 else np.float64
        index = np.multiply(block, work(math.ldexp(1.0, -self.exponent)), dtype=work)
        np.floor(index, out=index)
        index += bins // 2
        self.counts += np.bincount(index.astype(np.intp), minlength=bins)
        self.zeros += block.size - int(np.count_nonzero(block))

    def _grow(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = _folded(self.counts, exponent - self.exponent)
            self.exponent = exponent

    def merge(self, other: Histogram) -> Histogram:
        """A new histogram of both sets of values; neither operand changes.

        Raises:
            ValueError: the numbers of bins differ.
        """
        if self.counts.size != other.counts.size:
            raise ValueError(f"cannot merge {self.counts.size} bins with {other.counts.size}")
        exponent = max(self.exponent, other.exponent)
        counts = _folded(self.counts, exponent - self.exponent)
        counts += _folded(other.counts, exponent - other.exponent)
        zeros, nonfinite = self.zeros + other.zeros, self.nonfinite + other.nonfinite
        return Histogram(counts, exponent, zeros=zeros, nonfinite=nonfinite)

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Everything as arrays for ``np.savez``: counts i64[n]; exponent, zeros, nonfinite i64[]."""
        scalars = {"exponent": self.exponent, "zeros": self.zeros, "nonfinite": self.nonfinite}
        return {"counts": self.counts.copy()} | {k: np.array(v, np.int64) for k, v in scalars.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.int64]]) -> Histogram:
        """The inverse of `to_arrays`. Raises KeyError for a missing array, ValueError for bad counts."""
        counts = np.array(arrays["counts"], np.int64)
        exponent, zeros, nonfinite = (int(arrays[name]) for name in ("exponent", "zeros", "nonfinite"))
        half = counts.size // 2
        if counts.size and (counts.min() < 0 or exponent < _MIN_EXPONENT or nonfinite < 0):
            raise ValueError("a histogram has no negative counts and no exponent below -126")
        if counts.size and not 0 <= zeros <= counts.reshape(-1)[half]:
            raise ValueError("a histogram has no more zeros than values in its middle bin")
        return cls(counts, exponent, zeros=zeros, nonfinite=nonfinite)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = (self.exponent, self.zeros, self.nonfinite)
        return mine == (other.exponent, other.zeros, other.nonfinite) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, bins={self.counts.size}, exponent={self.exponent})"


def _exponent(low: float, high: float, bins: int) -> int:
    """The smallest k with ``-n/2 * 2**k <= low`` and ``high < n/2 * 2**k``."""
    half_log2 = bins.bit_length() - 2
    needed = _MIN_EXPONENT
    if high > 0.0:
        needed = max(needed, math.frexp(high)[1] - half_log2)
    if low < 0.0:
        mantissa, power = math.frexp(-low)  # mantissa in [0.5, 1): exactly 0.5 sits on the border, inside
        needed = max(needed, power - half_log2 - (mantissa == 0.5))
    return needed


def _folded(counts: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """A copy with bins `2**shift` times as wide; bins are numbered from zero outward, hence the halves."""
    if shift == 0:
        return counts.copy()
    half = counts.size // 2
    index = (np.arange(-half, half) >> min(shift, 62)) + half
    folded = np.zeros_like(counts)
    np.add.at(folded, index, counts)
    return folded
