"""Layers of several blobs: sums, products, maxima, joining and cutting."""

from __future__ import annotations

import itertools
import math
from functools import reduce

import numpy as np
import onnx_ir as ir

from fewbits.frontends.caffe.moments import Moments, mixture, total
from fewbits.frontends.caffe.step import Step

_OPERATIONS = ("PROD", "SUM", "MAX")


def eltwise(step: Step) -> list[ir.Value]:
    """PROD, SUM with a coefficient each, or MAX of blobs of one shape."""
    operation = step.params.choice("operation", _OPERATIONS, "SUM")
    factors = step.params.numbers("coeff")
    if factors and (operation != "SUM" or len(factors) != len(step.inputs)):
        raise step.error(
            f"{len(factors)} coefficients for {operation} of {len(step.inputs)} blobs", fix="one each, for SUM"
        )
    shapes = [step.sizes(value) for value in step.inputs]
    if len(set(shapes)) > 1:
        raise step.error(f"its bottoms differ in shape: {' and '.join(str(list(s)) for s in dict.fromkeys(shapes))}")
    if operation == "MAX":
        step.moments_out = mixture(step.moments).largest(len(step.inputs))
        return [step.op("Max", step.inputs)]
    if operation == "PROD":
        step.moments_out = Moments(0.0, math.prod(moments.square for moments in step.moments))
        return [_chain(step, "Mul", list(step.inputs))]
    factors = factors or [1.0] * len(step.inputs)
    step.moments_out = total([m.affine(factor) for factor, m in zip(factors, step.moments, strict=True)])
    if len(factors) == 2 and factors == [1.0, -1.0]:
        return [step.op("Sub", step.inputs)]
    terms = [
        value if factor == 1 else step.op("Mul", [value, step.number(factor, f"coeff{index}")], part=f"term{index}")
        for index, (value, factor) in enumerate(zip(step.inputs, factors, strict=True))
    ]
    return [_chain(step, "Add", terms)]


def _chain(step: Step, op_type: str, terms: list[ir.Value]) -> ir.Value:
    """Two at a time, as engines fuse them; the last node bears the layer's name."""
    last = len(terms) - 1
    numbered = list(enumerate(terms))

    def join(left: tuple[int, ir.Value], right: tuple[int, ir.Value]) -> tuple[int, ir.Value]:
        index, value = right
        return index, step.op(op_type, [left[1], value], part="" if index == last else f"first{index + 1}")

    return reduce(join, numbered)[1]


def concat(step: Step) -> list[ir.Value]:
    """Joined along an axis; priors, known before the network runs, are joined at once."""
    legacy = "concat_dim" if step.params.has("concat_dim") else "axis"
    axis = step.axis(1, name=legacy)
    if axis == 0:
        step.mixes_samples("joins along the batch")
    if len(step.inputs) == 1:
        return [step.x]
    arrays = [value.const_value.numpy() for value in step.inputs if value.const_value is not None]
    if len(arrays) == len(step.inputs):
        try:
            return [step.constant(np.concatenate(arrays, axis), "joined")]
        except ValueError as error:
            raise step.error(f"its bottoms cannot be joined: {error}") from error
    return [step.op("Concat", step.inputs, {"axis": axis})]


def slices(step: Step) -> list[ir.Value]:
    """Cut along an axis at the slice points, or into equal parts."""
    axis = step.axis(1, name="slice_dim" if step.params.has("slice_dim") else "axis")
    if axis == 0:
        step.mixes_samples("cuts the batch")
    size, count = step.sizes(step.x)[axis], len(step.layer.tops)
    points = step.params.integers("slice_point", low=1)
    if not points and count and size % count == 0:
        points = [size // count * index for index in range(1, count)]
    edges = [0, *points, size]
    parts = [after - before for before, after in itertools.pairwise(edges)]
    if len(parts) != count or min(parts) < 1:
        raise step.error(f"{size} cannot be cut at {points} for {count} tops", fix="correct the slice points")
    if count == 1:
        return [step.x]
    return list(step.ops("Split", [step.x, step.indices(parts, "parts")], count, {"axis": axis}))
