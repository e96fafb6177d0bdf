"""The description of a tensor at a model's border, shared by graph, data and engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of a model input or output.

    ``shape`` has ``None`` where the size is free: ``(None, 3, 224, 224)`` is a batch of any size.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]

    @property
    def single(self) -> tuple[int, ...]:
        """The shape of one sample: every free size is 1."""
        return tuple(1 if size is None else size for size in self.shape)
