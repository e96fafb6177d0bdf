"""Softmax, ArgMax and Reduction."""

from __future__ import annotations

import math

import onnx_ir as ir

from fewbits.frontends.caffe.moments import Moments
from fewbits.frontends.caffe.step import Step

# By Caffe's names in the order of their numbers, from 1 on.
_REDUCTIONS = ("", "SUM", "ASUM", "SUMSQ", "MEAN")
_OPERATORS = {"ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


def softmax(step: Step) -> list[ir.Value]:
    """exp(x) / sum of exp(x) along an axis."""
    axis = step.axis(1)
    if axis == 0:
        step.mixes_samples("is a softmax over the batch")
    step.moments_out = Moments(1 / max(step.sizes(step.x)[axis], 1), 0.0)
    return [step.op("Softmax", [step.x], {"axis": axis})]


def argmax(step: Step) -> list[ir.Value]:
    """Where the ``top_k`` largest values are (as float, which every Caffe blob is), or with ``out_max_val`` the values.

    Without an axis each sample is taken as one row: [N, ...] → [N, 1, k], or [N, 2, k] of places and values.
    """
    params, sizes = step.params, step.sizes(step.x)
    values_too, whole = params.truth("out_max_val", False), not params.has("axis")
    axis = 2 if whole else step.axis(1)
    x = step.reshape(step.x, [sizes[0], 1, math.prod(sizes[1:])], "row") if whole else step.x
    if axis == 0:
        step.mixes_samples("looks for the largest over the batch")
    size = step.sizes(x)[axis]
    count = params.integer("top_k", 1, low=1)
    if count > size:
        raise step.error(f"the {count} largest of {size}")
    values, places = step.ops("TopK", [x, step.indices([count], "k")], 2, {"axis": axis}, "largest")
    if values_too and not whole:
        return [step.op("Identity", [values])]
    places = step.op("Cast", [places], {"to": ir.DataType.FLOAT.value}, "places" if values_too else "")
    return [step.op("Concat", [places, values], {"axis": 1}) if values_too else places]


def reduction(step: Step) -> list[ir.Value]:
    """Coeff times the sum, absolute sum, sum of squares or mean over all axes from ``axis`` on."""
    params, rank = step.params, len(step.sizes(step.x))
    operation, axis = params.choice("operation", _REDUCTIONS, "SUM"), step.axis(0)
    if axis == 0:
        step.mixes_samples("reduces the batch")
    axes, factor = list(range(axis, rank)), params.number("coeff", 1.0)
    part = "" if factor == 1 else "reduced"
    if operation == "SUM":
        made = step.op("ReduceSum", [step.x, step.indices(axes, "axes")], {"keepdims": 0}, part)
    else:
        made = step.op(_OPERATORS[operation], [step.x], {"axes": axes, "keepdims": 0}, part)
    return [made if factor == 1 else step.op("Mul", [made, step.number(factor, "coeff")])]
