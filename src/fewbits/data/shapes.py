"""Does an array fit a model input, and how to say that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewbits.numerics.tensors import TensorSpec


def describe_shape(shape: Sequence[int | None]) -> str:
    """A shape as people write it: ``(1, 3, None, 224)`` -> ``[N,3,?,224]``; axis 0 is the batch."""
    sizes = ["N", *("?" if size is None else str(size) for size in shape[1:])]
    return f"[{','.join(sizes)}]" if shape else "[]"


def describe_input(spec: TensorSpec) -> str:
    """``model input data wants float32 [N,3,224,224]``."""
    return f"model input {spec.name} wants {spec.dtype.name} {describe_shape(spec.shape)}"


def row_fits(row: Sequence[int], spec: TensorSpec) -> bool:
    """Whether one sample ``row`` (no batch axis) fits the input's axes after the batch axis."""
    wanted = spec.shape[1:]
    return (
        bool(spec.shape)
        and len(row) == len(wanted)
        and all(want is None or have == want for have, want in zip(row, wanted, strict=True))
    )


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a float, the ml_dtypes ones (bfloat16, float8_…) included."""
    return np.issubdtype(dtype, np.floating) or "float" in dtype.name
