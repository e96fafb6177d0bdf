"""Pixels against a model input: do they fit, and the arithmetic that turns one into the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

from .shapes import describe_input, describe_shape, has_batch, is_float

Shape = tuple[int | None, ...]


def split_axes(shape: Shape, layout: str) -> tuple[int | None, int | None, int | None]:
    """(colours, height, width) of a rank-4 shape; ``layout`` is nchw or nhwc."""
    return (shape[1], shape[2], shape[3]) if layout == "nchw" else (shape[3], shape[1], shape[2])


def check_shape(shape: Shape, layout: str, spec: TensorSpec) -> None:
    """Whether images of ``shape`` (None: not known yet) fit the input.

    Raises:
        DataError: says both shapes and the option to change.
    """
    if len(spec.shape) != 4:
        raise DataError(f"{describe_input(spec)}, which is no image", fix="give arrays (.npz) or module:function")
    if not has_batch(spec.shape):
        sizes = ",".join("H" if size is None else str(size) for size in (1, *spec.shape[1:]))
        fix = f"give it a batch of 1 with fewbits convert --input-shape {spec.name}:{sizes}"
        raise DataError(f"{describe_input(spec)}, and images are fed one at a time", fix=fix)
    if all(have is None or want is None or have == want for have, want in zip(shape[1:], spec.shape[1:], strict=True)):
        return
    colours, height, width = split_axes(spec.shape, layout)
    if colours is not None and colours != split_axes(shape, layout)[0]:
        fix = "set --layout and --channels as the model wants them"
    elif height != width and height is not None and width is not None:
        fix = f"set --resize {height},{width} (height,width) and leave --crop out"
    else:
        fix = "set --resize and --crop to the size the model wants"
    raise DataError(f"{describe_input(spec)}, the preprocessed image is {describe_shape(shape)}", fix=fix)


def check_values(mean: tuple[float, ...], scale: tuple[float, ...], spec: TensorSpec) -> None:
    """Whether the input's type can hold ``(pixel - mean) / scale`` exactly.

    Raises:
        DataError: an integer input, and values that are no whole numbers in its range.
    """
    dtype: np.dtype[Any] = spec.dtype
    if is_float(dtype):
        return
    if dtype.kind not in "iu":
        raise DataError(f"{describe_input(spec)}, which cannot hold pixels")
    limits = np.iinfo(dtype)
    whole = all(number.is_integer() for number in mean) and set(scale) == {1.0}
    if not whole or -max(mean) < limits.min or 255 - min(mean) > limits.max:
        raise DataError(
            f"{describe_input(spec)}, which cannot hold (x - mean) / scale with mean {mean}, scale {scale}",
            fix="leave --mean and --scale out: such a model scales its pixels itself",
        )


def normalize(
    values: NDArray[Any],
    mean: tuple[float, ...],
    scale: tuple[float, ...],
    colours: tuple[int, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """``(values - mean) / scale`` in float32, then ``dtype``; ``colours`` is the shape of one per colour.

    values uint8 [3, H, W], mean of 3, colours (3, 1, 1) -> float32 [3, H, W], contiguous, a new array.
    """
    out = np.empty(values.shape, np.float32)
    np.subtract(values, _spread(mean, colours), out=out, dtype=np.float32)
    if set(scale) != {1.0}:
        out /= _spread(scale, colours)
    return out if out.dtype == dtype else out.astype(dtype)


def _spread(numbers: tuple[float, ...], colours: tuple[int, ...]) -> NDArray[np.float32]:
    array = np.array(numbers, np.float32)
    return array.reshape(()) if len(numbers) == 1 else array.reshape(colours)
