"""What a conversion gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Converted:
    """What conversion wrote: sizes, operators before and after, and how well the outputs agree."""

    out: Path
    to: str
    size_before: int
    size_after: int
    nodes_before: int
    nodes_after: int
    sqnr_db: float
    max_abs: float
