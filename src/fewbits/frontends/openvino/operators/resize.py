"""Interpolate → Resize: the modes of which both formats mean the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]

_MODES: Final = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}


@dataclass(frozen=True)
class Mode:
    """How Interpolate finds its numbers, in OpenVINO's words."""

    mode: str
    places: str
    rounding: str
    cube: float

    def attributes(self, op: Operation, *, larger: bool | None) -> dict[str, Any]:
        """ONNX's words for it.

        Args:
            op: for the message.
            larger: whether no axis shrinks; None where that is not known.

        Raises:
            ModelError: ONNX has no such mode.
        """
        op.refuse_unless(self.mode in _MODES, f"ONNX has no exact counterpart of {self.mode} interpolation")
        found: dict[str, Any] = {"mode": _MODES[self.mode], "coordinate_transformation_mode": self.places}
        if self.mode == "cubic":
            found["cubic_coeff_a"] = self.cube
        if self.mode != "nearest":
            op.refuse_unless(self.places != "tf_half_pixel_for_nn", f"{self.places} is for nearest numbers")
            return found
        rounding = self.rounding
        if rounding == "simple":  # the number in front where the image grows, behind where it shrinks
            op.refuse_unless(larger is not None, "simple rounding with sizes that are not known")
            rounding = "floor" if larger else "ceil"
        if self.places == "tf_half_pixel_for_nn":  # floor((i + 1/2) / s) is floor(x + 1/2) at x = (i + 1/2) / s - 1/2
            op.refuse_unless(rounding == "floor", f"{self.places} with {rounding} has no exact counterpart in ONNX")
            return {**found, "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        return {**found, "nearest_mode": rounding}


def _mode(op: Operation) -> Mode:
    given = op.attributes
    if op.node.get_type_info().version_id != "opset1":
        rounding = str(given.get("nearest_mode", "round_prefer_floor"))
        return Mode(given["mode"], str(given["coordinate_transformation_mode"]), rounding, float(given["cube_coeff"]))
    return Mode(given["mode"], "align_corners" if given["align_corners"] else "asymmetric", "simple", -0.75)


def _interpolate(op: Operation, w: Writer) -> ir.Value:
    op.refuse_unless(not op.attributes.get("antialias"), "antialiased interpolation differs between the formats")
    begin, end = (list(map(int, op.attributes.get(key) or [])) for key in ("pads_begin", "pads_end"))
    op.refuse_unless(not any(begin) and not any(end), "interpolation with padding", fix="pad before it")
    first = op.node.get_type_info().version_id == "opset1"
    last = 3 if op.node.get_type_info().version_id == "opset4" else 2
    rank, dims, results = op.rank(), op.dims(0) or (), op.result_dims() or ()
    axes = list(map(int, op.attributes["axes"])) if first else op.axes(last) if op.has(last) else list(range(rank))
    grows = [_grows(dims[axis], results[axis]) for axis in axes]
    larger = None if None in grows else all(grows)
    if larger is False:
        mixed = any(grow and dims[axis] != results[axis] for grow, axis in zip(grows, axes, strict=True))
        larger = None if mixed else False
    attributes = _mode(op).attributes(op, larger=larger)
    by_scales = not first and str(op.attributes["shape_calculation_mode"]) == "scales"
    scales = _scales(op, axes, 2 if last == 3 else 1) if by_scales else _scales_of_sizes(dims, results, axes)
    if scales is not None:
        full = np.ones(rank, np.float32)
        full[axes] = scales
        return w.op("Resize", op.input(0), None, w.constant(full), **attributes)
    return w.op("Resize", op.input(0), None, None, _sizes(op, w, axes), **attributes)


def _grows(size: int | None, result: int | None) -> bool | None:
    return None if size is None or result is None else result >= size


def _scales(op: Operation, axes: list[int], index: int) -> list[float]:
    return [float(number) for number in op.constant(index).ravel()][: len(axes)]


def _scales_of_sizes(dims: Any, results: Any, axes: list[int]) -> list[float] | None:
    """The factors that give these sizes exactly; None where a size is free, or floating point would miss it."""
    factors = []
    for axis in axes:
        size, result = dims[axis], results[axis]
        if not size or not result or result % size:
            return None
        factors.append(result / size)
    return factors


def _sizes(op: Operation, w: Writer, axes: list[int]) -> ir.Value:
    """All sizes, as ONNX takes them: those in front are read from the input."""
    rank, results = op.rank(), op.result_dims() or ()
    if None not in results:
        return w.integers(*(size or 0 for size in results))
    op.refuse_unless(axes == list(range(rank - len(axes), rank)), "sizes of axes that are not the last")
    front = w.slice(w.op("Shape", op.input(0)), 0, 0, rank - len(axes))
    fixed = [results[axis] for axis in axes]
    behind = w.int64(op, 1) if None in fixed else w.integers(*(size or 0 for size in fixed))
    return w.op("Concat", front, behind, axis=0) if rank > len(axes) else behind


TABLE: Final[dict[str, Emit]] = {"Interpolate": _interpolate}
