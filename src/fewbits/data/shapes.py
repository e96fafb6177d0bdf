"""Does an array fit a model input, and how to say that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.numerics.tensors import TensorSpec


def describe_shape(shape: Sequence[int | None]) -> str:
    """A shape as people write it: ``(1, 3, None, 224)`` -> ``[N,3,?,224]``; axis 0 of 1 or free is the batch."""
    sizes = ["?" if size is None else str(size) for size in shape]
    if has_batch(shape):
        sizes[0] = "N"
    return f"[{','.join(sizes)}]"


def describe_input(spec: TensorSpec) -> str:
    """``model input data wants float32 [N,3,224,224]``."""
    return f"model input {spec.name} wants {spec.dtype.name} {describe_shape(spec.shape)}"


def has_batch(shape: Sequence[int | None]) -> bool:
    """Whether axis 0 takes a batch of one sample: it is 1 or free."""
    return bool(shape) and shape[0] in (None, 1)


def row_fits(row: Sequence[int], spec: TensorSpec) -> bool:
    """Whether one sample ``row`` (no batch axis) fits the input's axes after the batch axis."""
    return has_batch(spec.shape) and fits(row, spec.shape[1:])


def fits(row: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether an array has these sizes, where they are not free."""
    return len(row) == len(wanted) and all(want in (None, have) for have, want in zip(row, wanted, strict=True))


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a float, the ml_dtypes ones (bfloat16, float8_…) included."""
    return np.issubdtype(dtype, np.floating) or "float" in dtype.name
