"""FakeQuantize → QuantizeLinear and DequantizeLinear where its ranges make an integer grid, its formula where not.

q = round((clip(x, low, high) - low) / (high - low) * (levels - 1))
y = q / (levels - 1) * (out_high - out_low) + out_low
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.quantized import Grid, grid
from fewbits.frontends.openvino.writer import Writer

Array = NDArray[Any]


def _fake_quantize(op: Operation, w: Writer) -> ir.Value:
    levels, rank = int(op.attributes["levels"]), op.rank()
    ranges = [_ranked(op.constant(index), rank) for index in range(1, 5)]
    low, high, out_low, out_high = ranges
    try:
        inner, outer = grid(low, high, levels), grid(out_low, out_high, levels)
    except ValueError as error:
        raise op.error(str(error), fix="export it again") from error
    axis = _axis(ranges)
    if inner is None or outer is None or axis is None or op.element() != "f32":
        return _formula(op, w, ranges, levels)
    value = op.input(0)
    shift = _same_shift(inner, outer)
    quantized = _integers_behind(value, inner, shift)
    if quantized is None:
        if levels != 256:  # the integers' own limits are wider than the grid
            value = w.op("Min", w.op("Max", value, w.constant(low, role="low")), w.constant(high, role="high"))
        quantized = w.op("QuantizeLinear", value, *_parameters(w, inner, shift, axis, "input"), axis=_attribute(axis))
        quantized.dtype = ir.DataType.INT8 if shift else ir.DataType.UINT8
    return w.op("DequantizeLinear", quantized, *_parameters(w, outer, shift, axis, "output"), axis=_attribute(axis))


def _ranked(array: Array, rank: int) -> Array:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _axis(ranges: list[Array]) -> int | None:
    """The one axis along which the ranges differ, -1 for none; None for several."""
    shape = np.broadcast_shapes(*(array.shape for array in ranges))
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    return None if len(wide) > 1 else (wide or [-1])[0]


def _same_shift(inner: Grid, outer: Grid) -> int:
    """What both grids take off q, so that int8 holds it: levels // 2 where zero lies in the middle of both."""
    return inner.levels // 2 if inner.signed and outer.signed else 0


def _attribute(axis: int) -> int | None:
    return None if axis == -1 else axis


def _parameters(w: Writer, numbers: Grid, shift: int, axis: int, side: str) -> tuple[ir.Value, ir.Value]:
    scale, zero = np.broadcast_arrays(numbers.scale, numbers.zero_point - shift)
    scale, zero = (array.reshape(-1) if axis != -1 else array.reshape(()) for array in (scale, zero))
    zero = zero.astype(np.int8 if shift else np.uint8)
    return w.constant(scale, np.float32, role=f"{side}_scale"), w.constant(zero, role=f"{side}_zero_point")


def _integers_behind(value: ir.Value, numbers: Grid, shift: int) -> ir.Value | None:
    """The uint8 value that was cast to floats only to be quantized by 1: it is its own grid."""
    producer = value.producer()
    if producer is None or producer.op_type != "Cast" or shift or numbers.levels != 256:
        return None
    unit = bool((numbers.scale == 1).all() and not numbers.zero_point.any())
    source = producer.inputs[0]
    return source if unit and source is not None and source.dtype == ir.DataType.UINT8 else None


def _formula(op: Operation, w: Writer, ranges: list[Array], levels: int) -> ir.Value:
    dtype = op.result_type().numpy()
    low, high, out_low, out_high = (array.astype(np.float64) for array in ranges)
    number: Callable[[Array], ir.Value] = lambda array: w.constant(array.astype(dtype))  # noqa: E731
    clipped = w.op("Min", w.op("Max", op.input(0), number(low)), number(high))
    steps = w.op("Mul", w.op("Sub", clipped, number(low)), number((levels - 1) / (high - low)))
    spread = w.op("Mul", w.op("Round", steps), number((out_high - out_low) / (levels - 1)))
    return w.op("Add", spread, number(out_low))


TABLE: Final[dict[str, Callable[[Operation, Writer], ir.Value]]] = {"FakeQuantize": _fake_quantize}
