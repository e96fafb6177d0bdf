"""From one row of an array to what a model input is fed: as it is, scaled, or as an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

from .model_input import normalize
from .preprocess import Preprocess
from .shapes import describe_input, describe_shape, fits, has_batch, is_float, row_fits


@dataclass(frozen=True)
class InputFeed:
    """How rows of one array are fed to one input.

    ``as-is``: only the type changes. ``scaled``: integers [16000] become (x - mean) / scale as floats.
    ``image``: uint8 [H, W, C] goes through ``preprocess`` like an image file. ``preprocess`` is None
    where it plays no part. ``whole`` rows are the whole input: one without batch, or a row that brings its batch axis.
    """

    spec: TensorSpec
    kind: Literal["as-is", "scaled", "image"]
    preprocess: Preprocess | None = None
    whole: bool = False

    def feed(self, row: NDArray[Any], *, name: str) -> NDArray[Any]:
        """One row -> [1, …] (a whole one as it is) in the input's dtype, in memory of its own.

        Raises:
            SampleError: a value the input's type cannot hold.
            DataError: an image that does not fit the input.
        """
        steps = self.preprocess
        if self.kind == "image" and steps is not None:
            return steps.apply(as_image(row), self.spec)
        if steps is None:
            fed = _cast(row, self.spec, name)
        else:
            fed = normalize(row, steps.mean, steps.scale, _colour_axis(row.shape, steps), self.spec.dtype)
        return fed if self.whole else fed[None]

    @staticmethod
    def picture(row: NDArray[Any]) -> Image.Image:
        """A uint8 row [H, W, 1 or 3] as an image."""
        return Image.fromarray(np.ascontiguousarray(row[:, :, 0] if row.shape[2] == 1 else row))


def as_image(row: NDArray[Any]) -> Image.Image:
    """uint8 [H, W, 1 or 3] as a picture, gray or RGB."""
    return Image.fromarray(np.ascontiguousarray(row[:, :, 0] if row.shape[2] == 1 else row))


def plan_feed(
    array: str, row: tuple[int, ...], dtype: np.dtype[Any], spec: TensorSpec, preprocess: Preprocess | None
) -> InputFeed:
    """How rows of the array named ``array`` (shape of one sample, dtype) are fed to ``spec``.

    uint8 [H, W, 1 or 3] are images, unless the input itself is uint8 of that very shape. Other
    integers for a float input honour mean and scale, where ``preprocess`` is given. Floats never do.

    Raises:
        DataError: shape or type do not fit; says both.
    """
    batched = row_fits(row, spec)
    whole = not batched and fits(row, spec.shape)
    same_type = batched and dtype == spec.dtype
    if dtype == np.uint8 and len(row) == 3 and row[2] in (1, 3) and len(spec.shape) == 4 and not same_type:
        steps = preprocess or Preprocess.default_for(spec)
        steps.check(spec)
        return InputFeed(spec, "image", steps)
    if not batched and not whole:
        raise DataError(
            f"{describe_input(spec)}, {array} is {dtype.name} {describe_shape((None, *row))}",
            fix=shape_advice(row, dtype, spec),
        )
    if dtype.kind not in "biuf" and not is_float(dtype):
        raise DataError(f"{describe_input(spec)}, {array} holds {dtype}", fix="save plain numbers")
    if is_float(dtype) and not is_float(spec.dtype):
        raise DataError(f"{describe_input(spec)}, {array} holds {dtype.name}", fix=f"save it as {spec.dtype.name}")
    if preprocess is None or dtype.kind not in "iu" or not is_float(spec.dtype):
        return InputFeed(spec, "as-is", whole=whole)
    _colour_axis(row, preprocess)
    return InputFeed(spec, "scaled", preprocess, whole)


def shape_advice(row: tuple[int, ...], dtype: np.dtype[Any], spec: TensorSpec) -> str:
    """What to do about a sample of this shape that the input cannot take."""
    if not has_batch(spec.shape) and fits(row, spec.shape[1:]):
        whole = ",".join("?" if size is None else str(size) for size in spec.shape)
        one = ",".join(map(str, (1, *row)))
        return (
            f"give it a batch of 1 with fewbits convert --input-shape {spec.name}:{one}, "
            f"or save samples of the whole input: [N,{whole}]"
        )
    if len(row) == 2 and len(spec.shape) == 4 and dtype == np.uint8:
        return "grey images need a colour axis: save x[..., None]"
    return "save the array in the shape the model wants"


def _colour_axis(row: tuple[int, ...], steps: Preprocess) -> tuple[int, ...]:
    """The shape of one number per colour against ``row``; scalars need none."""
    colours = max(len(steps.mean), len(steps.scale))
    if colours == 1:
        return ()
    axis = 0 if steps.layout == "nchw" else -1
    if len(row) != 3 or row[axis] != colours:
        raise DataError(
            f"mean and scale have {colours} numbers, but rows of shape {row} have no such colour axis",
            fix="give one number each",
        )
    return (colours, 1, 1) if axis == 0 else (colours,)


def _cast(row: NDArray[Any], spec: TensorSpec, name: str) -> NDArray[Any]:
    """The row in the input's dtype, copied; a value that would change its meaning is refused."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast: NDArray[Any] = np.array(row, dtype=spec.dtype, order="C")
    if row.dtype != spec.dtype:
        lost = np.isfinite(row) & ~np.isfinite(cast.astype(np.float32)) if is_float(spec.dtype) else cast != row
        if np.any(lost):
            raise SampleError(f"holds a value that {spec.dtype.name} cannot", where=name)
    return cast
