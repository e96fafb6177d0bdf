"""What a conversion gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewbits.measurement.deviation import Deviation


@dataclass(frozen=True)
class Converted:
    """What conversion wrote: sizes in bytes, operators before and after, and how well the outputs agree.

    ``sqnr_db`` and ``max_abs`` are the largest of ``deviations``, which holds one entry for each kind of input.
    """

    out: Path
    to: str
    size_before: int
    size_after: int
    nodes_before: int
    nodes_after: int
    sqnr_db: float
    max_abs: float
    deviations: tuple[Deviation, ...] = ()
