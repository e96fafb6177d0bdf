"""Rewrites that make a model simpler without changing what it computes; the pipeline reads top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import onnx_ir as ir
from onnx_ir.passes import common

from fewbits.passes.fold_batchnorm import fold_batchnorm
from fewbits.passes.simplify import fold_constants, merge_neighbours


def _tidy(model: ir.Model) -> None:
    for function in (
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(),
        common.ShapeInferencePass(),
    ):
        function(model)


# Batch norms go first: onnxscript's optimizer would fold them too, but gives the convolution a new name.
PIPELINE: Final[tuple[Callable[[ir.Model], None], ...]] = (
    fold_batchnorm,
    fold_constants,
    merge_neighbours,
    fold_constants,
    _tidy,
)


def simplify(model: ir.Model) -> ir.Model:
    """Run the pipeline on a copy; the given model stays as it is."""
    model = model.clone()
    for rewrite in PIPELINE:
        rewrite(model)
    return model
