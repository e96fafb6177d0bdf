"""The record of a layer-by-layer comparison of two models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LayerComparison:
    """One layer's output in both models.

    Args:
        node, op: the node that produces it in the reference.
        sqnr_db: signal (reference) to noise (difference) over all samples.
        max_abs: the largest difference, in the unit of the tensor.
        reference_range, other_range: (smallest, largest) value seen.
    """

    node: str
    op: str
    value: str
    sqnr_db: float
    max_abs: float
    reference_range: tuple[float, float]
    other_range: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """All layers the two models have in common, in the reference's order, and the outputs."""

    reference: Path
    other: Path
    samples: int
    layers: tuple[LayerComparison, ...]
    outputs: tuple[LayerComparison, ...]
    only_in_reference: int

    def worst(self, count: int = 10) -> list[LayerComparison]:
        """Layers by falling noise: the lowest SQNR first."""
        return sorted(self.layers, key=lambda layer: layer.sqnr_db)[:count]
