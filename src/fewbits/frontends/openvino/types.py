"""Element types: OpenVINO's name → ONNX's type, and how NumPy holds a constant of it."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError

TYPES: Final[dict[str, ir.DataType]] = {
    "boolean": ir.DataType.BOOL,
    "f64": ir.DataType.DOUBLE,
    "f32": ir.DataType.FLOAT,
    "f16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
    "i64": ir.DataType.INT64,
    "i32": ir.DataType.INT32,
    "i16": ir.DataType.INT16,
    "i8": ir.DataType.INT8,
    "u64": ir.DataType.UINT64,
    "u32": ir.DataType.UINT32,
    "u16": ir.DataType.UINT16,
    "u8": ir.DataType.UINT8,
    # Four bits are held in eight: ONNX has four-bit integers only from opset 21, and engines hardly any kernels.
    "i4": ir.DataType.INT8,
    "u4": ir.DataType.UINT8,
}
FLOATS: Final = frozenset({"f64", "f32", "f16", "bf16"})


def onnx_type(name: str, where: str) -> ir.DataType:
    """The ONNX type behind OpenVINO's name, such as ``f32``.

    Raises:
        ModelError: ONNX or NumPy has no such type.
    """
    if name not in TYPES:
        raise ModelError(
            f"numbers of type {name} have no counterpart here",
            where=where,
            fix=f"export the model with {', '.join(sorted(FLOATS))} or 8-bit integers",
        )
    return TYPES[name]


def array_of(constant: Any, name: str, where: str) -> NDArray[Any]:
    """The numbers of a Constant of element type ``name``, a view on OpenVINO's memory where the type allows it."""
    onnx_type(name, where)
    shape = tuple(constant.get_output_shape(0))
    data: NDArray[Any] = constant.data
    if name == "bf16":  # OpenVINO hands the bits out as float16
        return data.view(ml_dtypes.bfloat16)
    if name in ("i4", "u4"):
        return _unpacked(data.view(np.uint8), signed=name == "i4", shape=shape)
    return data.reshape(shape)


def _unpacked(packed: NDArray[np.uint8], *, signed: bool, shape: tuple[int, ...]) -> NDArray[Any]:
    """Two numbers a byte, the low half first: uint8 [3] → int8 or uint8 [5] (the last half is padding)."""
    halves = np.stack([packed.ravel() & 15, packed.ravel() >> 4], axis=-1).ravel()[: int(np.prod(shape))]
    numbers = (halves.astype(np.int8) ^ 8) - 8 if signed else halves
    return numbers.astype(np.int8 if signed else np.uint8).reshape(shape)
