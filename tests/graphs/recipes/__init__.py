"""How operators get into a graph: a file a family, a table in each; a recipe reads values in scope and adds others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..builder import Builder
from . import (
    blocks,
    comparing,
    control,
    indexing,
    linear,
    moving,
    normalizing,
    pointwise,
    pooling,
    quantized,
    recurrent,
    reducing,
    resizing,
    shaping,
    signal,
)

Recipe = Callable[[Builder], Any]

# Family → (how often it is drawn, its recipes).
FAMILIES: Final[dict[str, tuple[float, Mapping[str, Recipe]]]] = {
    "linear": (6, linear.RECIPES),
    "pooling": (3, pooling.RECIPES),
    "pointwise": (5, pointwise.RECIPES),
    "comparing": (2, comparing.RECIPES),
    "moving": (4, moving.RECIPES),
    "shaping": (2, shaping.RECIPES),
    "indexing": (3, indexing.RECIPES),
    "reducing": (2, reducing.RECIPES),
    "normalizing": (3, normalizing.RECIPES),
    "resizing": (2, resizing.RECIPES),
    "recurrent": (1.5, recurrent.RECIPES),
    "control": (1.5, control.RECIPES),
    "blocks": (4, blocks.RECIPES),
    "quantized": (0.3, quantized.RECIPES),
    "signal": (0.5, signal.RECIPES),
}
# What INT8 has something to do in.
COMPUTE: Final[dict[str, Recipe]] = {**linear.RECIPES, **linear.MOST}
