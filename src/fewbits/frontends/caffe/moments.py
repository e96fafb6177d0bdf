"""Mean and variance of a blob's numbers, estimated layer by layer, by which random weights are drawn.

Numbers are taken as normal and independent. The rectifier then gives, with z = mean / deviation, the density phi and
the distribution Phi of the standard normal,

    E[relu(x)] = mean Phi(z) + deviation phi(z),   E[relu(x)^2] = (mean^2 + variance) Phi(z) + mean deviation phi(z)

which is what keeps a residual network in bounds: its sums are mostly positive, and no rectifier halves them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TINY = 1e-12
_HUGE = 1e30


@dataclass(frozen=True)
class Moments:
    """Of one blob; a network's input is taken as standard normal."""

    mean: float = 0.0
    variance: float = 1.0

    @property
    def square(self) -> float:
        """The mean square."""
        return min(self.mean * self.mean + self.variance, _HUGE)

    def affine(self, scale: float, shift: float = 0.0) -> Moments:
        """Of scale x + shift."""
        return Moments(scale * self.mean + shift, scale * scale * self.variance)

    def relu(self, slope: float = 0.0) -> Moments:
        """Of max(x, 0) + slope min(x, 0)."""
        deviation = math.sqrt(max(self.variance, _TINY))
        z = self.mean / deviation
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        share = (1 + math.erf(z / math.sqrt(2))) / 2
        above, squares = self.mean * share + deviation * density, self.square * share + self.mean * deviation * density
        mean = (1 - slope) * above + slope * self.mean
        square = (1 - slope**2) * squares + slope**2 * self.square
        return Moments(mean, max(square - mean * mean, 0.0))

    def largest(self, count: int) -> Moments:
        """Of the largest of so many: mean + deviation sqrt(ln n), variance / (1 + ln n), right to 15 % for 1 to 100."""
        log = math.log(max(count, 1))
        return Moments(self.mean + math.sqrt(self.variance * log), self.variance / (1 + log))

    def average(self, count: int) -> Moments:
        """Of the mean of so many."""
        return Moments(self.mean, self.variance / max(count, 1))


def total(terms: Sequence[Moments]) -> Moments:
    """Of the sum of blobs."""
    return Moments(sum(term.mean for term in terms), sum(term.variance for term in terms))


def mixture(parts: Sequence[Moments]) -> Moments:
    """Of blobs put side by side."""
    mean = sum(part.mean for part in parts) / len(parts)
    return Moments(mean, max(sum(part.square for part in parts) / len(parts) - mean * mean, 0.0))
