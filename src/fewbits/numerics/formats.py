"""Number formats as values: how many bits, which numbers they hold, how a float32 is rounded to them.

Integers: a format with ``b`` bits holds ``-2**(b-1) .. 2**(b-1)-1`` (signed) or ``0 .. 2**b-1``.
A narrow one drops the lowest number, so that the range is symmetric around zero.

Floats (IEEE 754-2019, section 3.3), with ``e`` exponent bits, ``m`` stored mantissa bits and the bias
``B = 2**(e-1) - 1``::

    max                (2 - 2**-m) * 2**B
    smallest normal    2**(1-B)
    smallest subnormal 2**(1-B-m)
    epsilon            2**-m              the gap between 1 and the next number
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class IntegerFormat:
    """An integer format of 2 to 32 bits.

    Args:
        name: as the person reads it, ``"int8"``.
        bits: bits that carry information; 7-bit numbers are stored in 8.
        signed: two's complement if true.
        narrow: leave out the lowest number (signed only).

    Raises:
        ValueError: bits outside 2..32, or narrow and not signed.
    """

    name: str
    bits: int
    signed: bool
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise ValueError(f"{self.name}: an integer format has 2 to 32 bits, not {self.bits}")
        if self.narrow and not self.signed:
            raise ValueError(f"{self.name}: only a signed format can be narrow")

    @property
    def qmin(self) -> int:
        """The lowest number."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def qmax(self) -> int:
        """The highest number."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def levels(self) -> int:
        """How many different numbers there are."""
        return self.qmax - self.qmin + 1

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The smallest NumPy type that stores it: 7 bits are stored as int8."""
        storage_bits = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return np.dtype(f"{'int' if self.signed else 'uint'}{storage_bits}")


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format with infinities, NaN and subnormals.

    Args:
        name: as the person reads it, ``"fp16"``.
        exponent_bits: bits of the exponent, ``e``.
        mantissa_bits: stored bits of the mantissa, ``m`` (the leading one is not stored).
    """

    name: str
    exponent_bits: int
    mantissa_bits: int

    @property
    def bits(self) -> int:
        """Sign, exponent and mantissa together."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def _bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def max(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0**-self.mantissa_bits) * 2.0**self._bias

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with full precision."""
        return 2.0 ** (1 - self._bias)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number."""
        return 2.0 ** (1 - self._bias - self.mantissa_bits)

    @property
    def epsilon(self) -> float:
        """The gap between 1 and the next number."""
        return 2.0**-self.mantissa_bits


FP32 = FloatFormat("fp32", exponent_bits=8, mantissa_bits=23)
FP16 = FloatFormat("fp16", exponent_bits=5, mantissa_bits=10)
BF16 = FloatFormat("bf16", exponent_bits=8, mantissa_bits=7)

INT8 = IntegerFormat("int8", bits=8, signed=True)
INT8_NARROW = IntegerFormat("int8_narrow", bits=8, signed=True, narrow=True)
# Before VNNI, x86 adds two u8*s8 products in 16 bits (pmaddubsw) and saturates: 2*255*127 > 32767.
# With weights in -64..63 the sum stays inside: 2*255*64 = 32640.
INT7 = IntegerFormat("int7", bits=7, signed=True)
UINT8 = IntegerFormat("uint8", bits=8, signed=False)
INT32 = IntegerFormat("int32", bits=32, signed=True)

_STORAGE = {FP32: np.dtype(np.float32), FP16: np.dtype(np.float16), BF16: np.dtype(ml_dtypes.bfloat16)}


def round_to(values: NDArray[np.float32], format: FloatFormat) -> NDArray[np.float32]:
    """The nearest number of `format` to each value, ties to even, as float32 of the same shape.

    Beyond ``format.max`` plus half a gap the result is infinite; subnormals are kept; NaN stays NaN.
    The result is a new array, also for FP32.

    Raises:
        ValueError: the format is not FP32, FP16 or BF16.
    """
    if format not in _STORAGE:
        raise ValueError(f"cannot round to {format.name}; known are {[f.name for f in _STORAGE]}")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(values, np.float32).astype(_STORAGE[format]).astype(np.float32)
