"""ArgMax and TopK: the largest numbers and where they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site


def argmax(at: Site) -> ir.Value:
    """Indices of the ``top_k`` largest as FP32; over everything behind the batch where no axis is given.

    With ``out_max_val`` the numbers themselves along an axis, or without an axis both: indices [N, 1, K], then numbers.
    """
    count, values_too = at.whole("top_k", 1), at.flag("out_max_val")
    if "axis" in at.layer.data:
        values, indices = _top(at, at.x, count, at.axis(), at.shape)
        return values if values_too else indices
    flat = (at.shape[0], math.prod(at.shape[1:]))
    values, indices = _top(at, at.reshaped(at.x, flat), count, 1, flat)
    if not values_too:
        return at.reshaped(indices, at.out)
    rows = [at.reshaped(part, (at.shape[0], 1, count)) for part in (indices, values)]
    return at.reshaped(at.op("Concat", *rows, axis=1), at.out)


def top_k(at: Site) -> Sequence[ir.Value]:
    """Values and indices; the count is a constant on the second input."""
    count = int(at.constant(1).reshape(-1)[0])
    values, indices = _top(at, at.x, count, at.axis(), at.shape, largest=at.text("mode", "max").lower() == "max")
    return [values, indices][: len(at.layer.outputs)]


def _top(
    at: Site, x: ir.Value, count: int, axis: int, shape: Sequence[int], *, largest: bool = True
) -> tuple[ir.Value, ir.Value]:
    if not 1 <= count <= shape[axis]:
        raise at.fail(f"the {count} largest of {shape[axis]}")
    attributes = {"axis": axis, "largest": int(largest)}
    values, indices = at.tape.op_multi_out("TopK", [x, at.indices("k", [count])], attributes, num_outputs=2)
    return values, at.op("Cast", indices, to=ir.DataType.FLOAT)
