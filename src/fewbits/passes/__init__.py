"""Rewrites that make a model simpler without changing what it computes; the pipeline reads top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.graph.element_types import mend_types
from fewbits.graph.names import unique_names
from fewbits.passes.cancel_transposes import cancel_transposes
from fewbits.passes.fold_after import fold_after
from fewbits.passes.fold_before import fold_before
from fewbits.passes.fold_constants import fold_constants
from fewbits.passes.merge_affine import merge_affine
from fewbits.passes.merge_linear import merge_linear
from fewbits.passes.neighbours import merge_neighbours
from fewbits.passes.pad_into_pool import pad_into_pool
from fewbits.passes.plain_matrices import plain_matrices
from fewbits.passes.raise_activation import raise_activation

# Each says whether it changed anything.
Rewrite = Callable[[ir.Model], bool]

# Batch norms go first: what they leave is what later rewrites see. Those see constants evaluated; transposes go before
# what reads through them.
PIPELINE: Final[tuple[Rewrite, ...]] = (
    fold_after,
    fold_constants,
    merge_neighbours,
    pad_into_pool,
    plain_matrices,
    cancel_transposes,
    raise_activation,
    merge_affine,
    fold_before,
    fold_after,
    merge_linear,
)


def simplify(model: ir.Model) -> ir.Model:
    """Run the pipeline on a copy; the given model stays as it is."""
    model = model.clone()
    with unique_names(model):
        fresh = False
        for rewrite in PIPELINE:
            changed = rewrite(model)
            fresh = changed or (fresh and rewrite is not fold_constants)
        if fresh:  # what a rewrite left behind: constants to evaluate, unused nodes
            fold_constants(model)
    _tidy(model)
    return model


def _tidy(model: ir.Model) -> None:
    for function in (
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(),
        common.ShapeInferencePass(),
    ):
        function(model)
    mend_types(model)
