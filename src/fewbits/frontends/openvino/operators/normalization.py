"""Normalizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.types import onnx_type
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _batch_norm(op: Operation, w: Writer) -> ir.Value:
    first = op.node.get_type_info().version_id == "opset1"  # gamma and beta came before the data then
    data, gamma, beta = (2, 0, 1) if first else (0, 1, 2)
    inputs = [op.input(index) for index in (data, gamma, beta, 3, 4)]
    return w.op("BatchNormalization", *inputs, epsilon=float(op.attributes["epsilon"]))


def _mvn(op: Operation, w: Writer) -> ir.Value:
    """(x - mean) / sqrt(var + eps), or / (sqrt(var) + eps)."""
    rank = op.rank()
    if op.has(1):
        axes, inside = op.axes(1), str(op.attributes["eps_mode"]).lower() == "inside_sqrt"
    else:
        axes, inside = list(range(1 if op.attributes["across_channels"] else 2, rank)), True
    dims, eps = op.dims(0) or (), float(op.attributes["eps"])
    scaled = bool(op.attributes["normalize_variance"])
    sizes = [dims[axis] for axis in sorted(axes)]
    if scaled and inside and sorted(axes) == list(range(rank - len(axes), rank)) and None not in sizes:
        ones = np.ones([size or 1 for size in sizes], onnx_type(op.element(), op.label).numpy())
        return w.op("LayerNormalization", op.input(0), w.constant(ones), axis=rank - len(axes), epsilon=eps)
    centred = w.op("Sub", op.input(0), w.reduce("ReduceMean", op.input(0), axes))
    if not scaled:
        return centred
    variance = w.reduce("ReduceMean", w.op("Mul", centred, centred), axes)
    if inside:
        return w.op("Div", centred, w.op("Sqrt", w.op("Add", variance, w.like(eps, op))))
    return w.op("Div", centred, w.op("Add", w.op("Sqrt", variance), w.like(eps, op)))


def _lrn(op: Operation, w: Writer) -> ir.Value:
    op.refuse_unless(op.axes(1) == [1], "ONNX normalizes local responses across channels only")
    # OpenVINO's CPU plugin (2026.4) counts a bias of 2.5 as 2; its specification does not.
    numbers = {key: float(op.attributes[key]) for key in ("alpha", "beta", "bias")}
    return w.op("LRN", op.input(0), size=int(op.attributes["size"]), **numbers)


def _normalize_l2(op: Operation, w: Writer) -> ir.Value:
    """X / sqrt(sum x^2 + eps), or / sqrt(max(sum x^2, eps))."""
    total = w.reduce("ReduceSumSquare", op.input(0), op.axes(1))
    joined = "Add" if str(op.attributes["eps_mode"]).lower() == "add" else "Max"
    return w.op("Div", op.input(0), w.op("Sqrt", w.op(joined, total, w.like(float(op.attributes["eps"]), op))))


def _grn(op: Operation, w: Writer) -> ir.Value:
    """X / sqrt(sum of x^2 over channels + bias)."""
    total = w.reduce("ReduceSumSquare", op.input(0), [1])
    return w.op("Div", op.input(0), w.op("Sqrt", w.op("Add", total, w.like(float(op.attributes["bias"]), op))))


def _group_normalization(op: Operation, w: Writer) -> ir.Value:
    """X [N, C, H, W] seen as [N, groups, rest], normalized along the rest."""
    groups, rank = int(op.attributes["num_groups"]), op.rank()
    dtype = onnx_type(op.element(), op.label).numpy()
    seen = w.op("Reshape", op.input(0), w.integers(0, groups, -1))
    ones, zeros = w.constant(np.ones(groups, dtype)), w.constant(np.zeros(groups, dtype))
    even = w.op("InstanceNormalization", seen, ones, zeros, epsilon=float(op.attributes["epsilon"]))
    back = w.op("Reshape", even, w.op("Shape", op.input(0)))
    gamma, beta = (w.reshape(op.input(index), -1, *(1,) * (rank - 2)) for index in (1, 2))
    return w.op("Add", w.op("Mul", back, gamma), beta)


TABLE: Final[dict[str, Emit]] = {
    "BatchNormInference": _batch_norm,
    "GRN": _grn,
    "GroupNormalization": _group_normalization,
    "LRN": _lrn,
    "MVN": _mvn,
    "NormalizeL2": _normalize_l2,
}
