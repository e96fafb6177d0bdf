"""What a conversion gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewbits.measurement.deviation import Deviation


@dataclass(frozen=True)
class Converted:
    """What conversion wrote: sizes in bytes, operators before and after, and how well the outputs agree.

    ``deviations`` has one entry for each kind of input; ``sqnr_db`` and ``max_abs`` are the worst of those on plausible
    input (random numbers, masks, data), NaN where nothing was proved. ``truth`` says what the result was held against.
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
    truth: str = ""
