"""What calibration gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewbits.numerics import OutputNoise
from fewbits.quantization.plan import QuantPlan
from fewbits.quantization.recipe import Recipe


@dataclass(frozen=True)
class Calibrated:
    """What calibration wrote and how. ``seconds`` and ``peak_rss_bytes`` are of the whole work.

    ``sqnr_db`` is what each variant reached at the outputs where something had to be decided (see ``Tuned``).
    ``outputs`` is what the written file reached in each engine that is to run it, on ``judged`` samples that
    calibration did not use, held against ``reference``. Of ``samples`` so many were set ``aside`` for that.
    """

    out: Path
    files: tuple[Path, ...]
    seconds: float
    peak_rss_bytes: int
    samples: int
    recipe: Recipe
    sqnr_db: Mapping[str, float]
    plan: QuantPlan
    outputs: tuple[OutputNoise, ...] = ()
    judged: int = 0
    reference: str = ""
    aside: int = 0
