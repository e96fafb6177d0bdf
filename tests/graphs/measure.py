"""How far two runs of the same graph are apart: pooled over samples, for each output and for each of its units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .steps import Array

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Apart:
    """The worst of all outputs.

    Attributes:
        sqnr_db: of the float outputs, pooled over samples, in dB.
        unit_db: of one position along the second or the last axis of an output, the lowest.
        tipped: share of integers and booleans that differ, the largest of any output.
        broken: what no noise explains: an output missing, of another shape or type, not finite where it should be.
    """

    sqnr_db: float = math.inf
    output: str = ""
    unit_db: float = math.inf
    tipped: float = 0.0
    broken: str = ""


def decibel(signal: float, noise: float) -> float:
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(max(signal, 1e-30) / noise) if noise > 0 else math.inf


@dataclass
class _Sums:
    """Energies of one output: in all, and along each axis whose positions may be units."""

    signal: float = 0.0
    noise: float = 0.0
    units: dict[int, tuple[Array, Array]] = field(default_factory=dict)

    def add(self, wanted: Array, got: Array) -> None:
        with np.errstate(all="ignore"):
            s, n = wanted.astype(np.float64) ** 2, (wanted.astype(np.float64) - got.astype(np.float64)) ** 2
        n = np.where(wanted == got, 0.0, n)  # infinities that are meant
        self.signal += float(s[np.isfinite(s)].sum())
        self.noise += float(n.sum())
        for axis in {1, wanted.ndim - 1} if wanted.ndim > 1 else set():
            others = tuple(a for a in range(wanted.ndim) if a != axis)
            one, other = s.sum(others), n.sum(others)
            if axis in self.units and self.units[axis][0].shape == one.shape:
                one, other = one + self.units[axis][0], other + self.units[axis][1]
            self.units[axis] = (one, other)

    @property
    def unit_db(self) -> float:
        """Noise below what FP32 rounds of the output as a whole is none."""
        floor = self.signal * 1e-13
        found = [
            decibel(s, n if n > floor else 0.0)
            for one, other in self.units.values()
            for s, n in zip(one, other, strict=True)
        ]
        return min(found, default=math.inf)


def apart(wanted: Sequence[Arrays], got: Sequence[Arrays]) -> Apart:
    """Compare sample by sample."""
    sums: dict[str, _Sums] = {}
    tipped: dict[str, list[float]] = {}
    for one, other in zip(wanted, got, strict=True):
        for name, array in one.items():
            if name not in other:
                return Apart(-math.inf, name, broken=f"output {name} is missing")
            mine = other[name]
            if mine.shape != array.shape:
                return Apart(-math.inf, name, broken=f"output {name} is {list(mine.shape)}, not {list(array.shape)}")
            if array.dtype.kind == "f":
                if mine.dtype.kind != "f":
                    return Apart(-math.inf, name, broken=f"output {name} is {mine.dtype}, not {array.dtype}")
                if not np.isfinite(mine[np.isfinite(array)]).all():
                    return Apart(-math.inf, name, broken=f"output {name} is not finite")
                sums.setdefault(name, _Sums()).add(array, mine)
            elif array.size:
                tipped.setdefault(name, []).append(float(np.mean(array.astype(np.float64) != mine.astype(np.float64))))
    worst = min(sums, key=lambda name: decibel(sums[name].signal, sums[name].noise), default="")
    sqnr = decibel(sums[worst].signal, sums[worst].noise) if worst else math.inf
    unit = min((part.unit_db for part in sums.values()), default=math.inf)
    return Apart(sqnr, worst, unit, max((float(np.mean(part)) for part in tipped.values()), default=0.0))
