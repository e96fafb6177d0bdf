"""What calibration gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewbits.quantization.plan import QuantPlan


@dataclass(frozen=True)
class Calibrated:
    """What calibration wrote and how. ``seconds`` and ``peak_rss_bytes`` are of the whole work."""

    out: Path
    files: tuple[Path, ...]
    seconds: float
    peak_rss_bytes: int
    samples: int
    method: str
    plan: QuantPlan
