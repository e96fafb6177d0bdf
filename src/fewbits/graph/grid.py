"""A regular grid over the positions of a value: a few numbers of each channel that stand for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from fewbits.graph.edits import add_initializer

_LEAST_POSITIONS = 3


def odd_steps(shape: tuple[int, ...], axis: int | None, samples: int) -> tuple[int, ...]:
    """Odd steps over the non-channel axes: [1, 64, 56, 56] and 4096 samples → 8 x 8 positions, steps 1, 1, 7, 7.

    At least three positions along each axis: what padding does to the border must not be all that is seen.
    """
    steps = [1] * len(shape)
    grid = [i for i in range(len(shape)) if i not in (0, axis)]
    while math.prod(counts := _counts(shape, steps)) > samples:
        coarser = [i for i in grid if math.ceil(shape[i] / (steps[i] + 2)) >= _LEAST_POSITIONS]
        if not coarser:
            break
        steps[max(coarser, key=lambda i: counts[i])] += 2
    return tuple(steps)


def at_steps(
    model: ir.Model, value: ir.Value, shape: tuple[int, ...], steps: tuple[int, ...]
) -> tuple[ir.Value, tuple[int, ...]]:
    """The value at the positions of a centred grid, and its shape there."""
    cut = [i for i, step in enumerate(steps) if step > 1]
    if not cut:
        return value, shape
    counts = _counts(shape, steps)
    starts = [(shape[i] - 1 - (counts[i] - 1) * steps[i]) // 2 for i in cut]
    constants = [
        add_initializer(model, f"{value.name}.grid_{what}", np.array(numbers, np.int64))
        for what, numbers in (
            ("starts", starts),
            ("ends", [shape[i] for i in cut]),
            ("axes", cut),
            ("steps", [steps[i] for i in cut]),
        )
    ]
    node = ir.node("Slice", [value, *constants])
    model.graph.append(node)
    node.outputs[0].name = f"{value.name}.grid"
    return node.outputs[0], counts


def _counts(shape: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """How many positions a grid with these steps has."""
    return tuple(math.ceil(size / step) for size, step in zip(shape, steps, strict=True))
