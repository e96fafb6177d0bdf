"""Scale and zero point: which real number an integer stands for, ``x = scale * (q - zero_point)``.

Equations (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 2.1 for the scheme, section 3 for the nudged zero point)::

    affine     scale = (high - low) / (qmax - qmin)      zero_point = round(qmin - low / scale)
    symmetric  scale = magnitude / qmax                  zero_point = 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewbits.numerics.formats import FP32, IntegerFormat

_HARMLESS_SCALE = 1.0


@dataclass(frozen=True, eq=False)
class QParams:
    """How a tensor is quantized: per tensor, or per channel along `axis`.

    Arrays are copied and made read-only; two QParams are equal if all their numbers are.

    Args:
        scale: f32[] per tensor, or f32[C]; positive, finite and not subnormal (engines flush those).
        zero_point: integers of the same shape inside the format; kept in ``format.dtype``.
        format: the integers.
        axis: None per tensor; per channel the dimension of size C, negative counts from the end.
            Tensor [A, B, C], axis 1: scale [B], used as [1, B, 1].

    Raises:
        ValueError: one of the above does not hold.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.generic]
    format: IntegerFormat
    axis: int | None = None

    def __post_init__(self) -> None:
        with np.errstate(over="ignore", under="ignore"):
            scale = np.array(self.scale, np.float32)
        given = np.asarray(self.zero_point)
        if scale.ndim != (0 if self.axis is None else 1) or scale.size == 0:
            wanted = "[] per tensor" if self.axis is None else "[C] per channel"
            raise ValueError(f"scale has shape {list(scale.shape)}, expected {wanted} (axis {self.axis})")
        if given.shape != scale.shape:
            raise ValueError(f"zero point has shape {list(given.shape)}, scale {list(scale.shape)}")
        if not np.all((scale >= FP32.smallest_normal) & (scale <= FP32.max)):
            raise ValueError("a scale must be positive, finite and not subnormal in float32")
        if not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"zero point must be integer, not {given.dtype}")
        if np.any(given < self.format.qmin) or np.any(given > self.format.qmax):
            raise ValueError(f"zero point outside {self.format.name}, {self.format.qmin}..{self.format.qmax}")
        zero_point = np.array(given, self.format.dtype)
        scale.setflags(write=False)
        zero_point.setflags(write=False)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    @property
    def per_channel(self) -> bool:
        """True if there is one scale for each channel."""
        return self.axis is not None

    def _key(self) -> tuple[object, ...]:
        return (self.scale.tobytes(), self.zero_point.tobytes(), self.format, self.axis)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, QParams) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def _scale(step: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round the step to float32; where nothing can be told apart, take 1, which keeps zeros zero.

    A scale at the edge of float32 would underflow once it is multiplied by another one.
    """
    with np.errstate(over="ignore", under="ignore"):
        scale = np.asarray(step, np.float32)
    return np.where(scale < FP32.smallest_normal, np.float32(_HARMLESS_SCALE), scale)


def affine(low: ArrayLike, high: ArrayLike, format: IntegerFormat, *, axis: int | None = None) -> QParams:
    """Scale and zero point for the range low..high, which is first widened to contain zero.

    Zero is exactly representable, so each x in the range is at most half a step from its level: the
    nudged zero point moves each end by up to half a step. If the range is empty the scale is 1.

    Args:
        low: lowest real number, a scalar; or f[C] with `axis`.
        high: highest real number, same shape.
        format: the integers.
        axis: the channel dimension if the range is given per channel.

    Raises:
        ValueError: low > high, not finite, beyond float32, or shapes that do not fit `axis`.
    """
    low_, high_ = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low_.shape != high_.shape or not np.all(np.isfinite(low_) & np.isfinite(high_) & (low_ <= high_)):
        raise ValueError(f"a range needs finite low <= high of one shape, not {low!r} and {high!r}")
    low_, high_ = np.minimum(low_, 0.0), np.maximum(high_, 0.0)
    scale = _scale((high_ - low_) / (format.qmax - format.qmin))
    zero_point = np.clip(np.rint(format.qmin - low_ / scale), format.qmin, format.qmax)
    return QParams(scale, zero_point.astype(format.dtype), format, axis)


def symmetric(magnitude: ArrayLike, format: IntegerFormat, axis: int | None = None) -> QParams:
    """Scale for -magnitude..magnitude with zero point 0; unsigned formats hold 0..magnitude.

    Args:
        magnitude: largest absolute value, a scalar; or f[C] with `axis`. Where it is 0 the scale is 1.
        format: the integers.
        axis: the channel dimension if the magnitude is given per channel.

    Raises:
        ValueError: negative, not finite, beyond float32, or a shape that does not fit `axis`.
    """
    magnitude_ = np.asarray(magnitude, np.float64)
    if not np.all(np.isfinite(magnitude_) & (magnitude_ >= 0.0)):
        raise ValueError(f"a magnitude must be finite and not negative, not {magnitude!r}")
    scale = _scale(magnitude_ / format.qmax)
    return QParams(scale, np.zeros(scale.shape, format.dtype), format, axis)
