"""How far two runs of one model are apart, pooled over samples: floats in dB, whole numbers by how many differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.engines import Arrays
from fewbits.errors import EngineError
from fewbits.numerics import NoiseSum

# FP32 engines reorder sums and use other transforms (Winograd): 60 to 120 dB below the signal in practice.
# A fault is not in the last bits: what OpenVINO 2026.4 computed for the keyword network left less than 10 dB.
ALIKE_DB, LEAST_DB = 60.0, 40.0
# Of whole numbers (classes, positions, masks) a few may tip over on an edge, in one engine and not in the other.
_ALIKE_SHARE, _MOST_SHARE = 0.01, 0.25
# What rounding does to one engine's result it may do to another's, give or take.
_ALLOWANCE_DB, _ALLOWANCE_SHARE = 12.0, 4.0
# Where nothing is expected but zeros, this much is rounding.
_NOTHING = 1e-6


@dataclass
class Apart:
    """By output: the noise of floats, and of whole numbers (those that differ, all)."""

    noise: dict[str, NoiseSum] = field(default_factory=dict)
    differing: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def between(cls, pairs: Iterable[tuple[Arrays, Arrays]]) -> Apart:
        """Pairs of (expected, got). A sample whose output has another size, as detections may, counts as all wrong.

        Raises:
            EngineError: an output is missing.
        """
        found = cls()
        for expected, got in pairs:
            for name, array in expected.items():
                if name not in got:
                    raise EngineError(f"the output {name} is missing")
                found._add(name, np.asarray(array), np.asarray(got[name]))
        return found

    def _add(self, name: str, expected: NDArray[Any], got: NDArray[Any]) -> None:
        same = expected.shape == got.shape
        if expected.dtype.kind in "biu":
            wrong, count = self.differing.get(name, (0, 0))
            more = int((expected != got).sum()) if same else max(expected.size, got.size)
            self.differing[name] = wrong + more, count + max(expected.size, 0 if same else got.size)
        else:
            noise = self.noise.setdefault(name, NoiseSum())
            noise.add(expected, got if same else np.zeros_like(expected))

    @property
    def alike(self) -> bool:
        """Whether they differ by no more than FP32 engines do."""
        return all(_db(noise) >= ALIKE_DB for noise in self.noise.values()) and all(
            share <= _ALIKE_SHARE for share in self.shares.values()
        )

    @property
    def shares(self) -> Mapping[str, float]:
        """Of each output of whole numbers the share that differs."""
        return {name: wrong / count if count else 0.0 for name, (wrong, count) in self.differing.items()}

    @property
    def worst_db(self) -> float:
        """Of the worst output of floats; infinite where there is none."""
        return min(map(_db, self.noise.values()), default=math.inf)

    def fault(self, rounding: Apart | None = None) -> str:
        """What is wrong in more than the last bits, in words; empty where nothing is.

        Args:
            rounding: what moving inputs and weights by FP32's rounding does to the outputs, where that is known: as
                much as that may be lost, as where a small difference of large numbers is all that is left.
        """
        for name, noise in sorted(self.noise.items(), key=lambda item: _db(item[1])):
            known = rounding.noise.get(name) if rounding else None
            least = min(LEAST_DB, _db(known) - _ALLOWANCE_DB) if known else LEAST_DB
            if not _db(noise) >= least:
                return f"{_db(noise):.0f} dB at output {name} (at least {least:.0f} dB expected)"
        for name, share in self.shares.items():
            known_share = rounding.shares.get(name, 0.0) if rounding else 0.0
            if share > max(_MOST_SHARE, _ALLOWANCE_SHARE * known_share):
                return f"{share:.0%} of the whole numbers of output {name} are others"
        return ""


def _db(noise: NoiseSum) -> float:
    return math.inf if not noise.signal_energy and noise.max_abs <= _NOTHING else noise.sqnr_db
