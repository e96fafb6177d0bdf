import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits.numerics import (
    BF16,
    FP16,
    FP32,
    INT7,
    INT8,
    INT8_NARROW,
    INT32,
    UINT8,
    FloatFormat,
    IntegerFormat,
    round_to,
)


@pytest.mark.parametrize(
    ("format", "qmin", "qmax", "levels", "dtype"),
    [
        (INT8, -128, 127, 256, np.int8),
        (INT8_NARROW, -127, 127, 255, np.int8),
        (INT7, -64, 63, 128, np.int8),
        (UINT8, 0, 255, 256, np.uint8),
        (INT32, -(2**31), 2**31 - 1, 2**32, np.int32),
        (IntegerFormat("uint16", 16, signed=False), 0, 65535, 65536, np.uint16),
    ],
)
def test_integer_formats(format, qmin, qmax, levels, dtype):
    assert (format.qmin, format.qmax, format.levels, format.dtype) == (qmin, qmax, levels, np.dtype(dtype))


@pytest.mark.parametrize(("bits", "signed", "narrow"), [(1, True, False), (33, True, False), (8, False, True)])
def test_impossible_integer_formats_are_refused(bits, signed, narrow):
    with pytest.raises(ValueError, match="x:"):
        IntegerFormat("x", bits, signed, narrow)


def test_seven_bits_do_not_saturate_a_pair_of_products():
    worst = 2 * UINT8.qmax * max(-INT7.qmin, INT7.qmax)
    assert worst <= np.iinfo(np.int16).max < 2 * UINT8.qmax * INT8.qmax


@pytest.mark.parametrize(
    ("format", "info"),
    [
        (FP32, np.finfo(np.float32)),
        (FP16, np.finfo(np.float16)),
        (BF16, ml_dtypes.finfo(ml_dtypes.bfloat16)),
    ],
)
def test_float_formats_agree_with_their_libraries(format, info):
    assert format.bits == info.bits
    assert format.max == float(info.max)
    assert format.smallest_normal == float(info.smallest_normal)
    assert format.smallest_subnormal == float(info.smallest_subnormal)
    assert format.epsilon == float(info.eps)


def rounded_by_hand(x: float, format: FloatFormat) -> float:
    """The definition: the nearest multiple of the gap at x, ties to even (Python's round)."""
    if x == 0 or not np.isfinite(x):
        return x
    exponent = max(int(np.frexp(x)[1]) - 1, int(np.log2(format.smallest_normal)))
    gap = 2.0 ** (exponent - format.mantissa_bits)
    result = round(x / gap) * gap
    return float(np.copysign(np.inf if abs(result) > format.max else result, x))


@pytest.mark.parametrize("format", [FP16, BF16])
@given(st.floats(width=32, allow_nan=False))
def test_round_to_follows_the_definition(format, x):
    got = round_to(np.array([x], np.float32), format)
    assert got.tobytes() == np.array([rounded_by_hand(x, format)], np.float32).tobytes()


@pytest.mark.parametrize("format", [FP16, BF16])
def test_round_to_at_every_number_and_every_tie(format):
    storage = np.float16 if format is FP16 else ml_dtypes.bfloat16
    every = np.arange(2**16, dtype=np.uint16).view(storage).astype(np.float32)
    numbers = np.sort(every[np.isfinite(every)])
    assert round_to(numbers, format).tobytes() == numbers.tobytes()
    ties = ((numbers[:-1].astype(np.float64) + numbers[1:]) / 2).astype(np.float32)
    ties = ties[np.abs(ties) >= format.smallest_subnormal]  # below, float32 cannot hold a bf16 tie
    for values in (ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))):
        expected = np.array([rounded_by_hand(float(v), format) for v in values], np.float32)
        assert round_to(values, format).tobytes() == expected.tobytes()


def test_round_to_overflow_nan_and_signs():
    tie = FP16.max + 16.0  # half a gap above 65504
    values = np.array([FP16.max, np.nextafter(np.float32(tie), np.float32(0)), tie, -1e30, -0.0, np.nan], np.float32)
    got = round_to(values, FP16)
    np.testing.assert_array_equal(got, np.array([FP16.max, FP16.max, np.inf, -np.inf, 0, np.nan], np.float32))
    assert np.signbit(got[4])
    assert np.isinf(round_to(np.array([FP32.max], np.float32), BF16)[0])


def test_round_to_copies_and_refuses_unknown_formats():
    values = np.ones(3, np.float32)
    assert not np.shares_memory(values, round_to(values, FP32))
    with pytest.raises(ValueError, match="fp8"):
        round_to(values, FloatFormat("fp8", 4, 3))
