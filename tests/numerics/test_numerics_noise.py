import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewbits.numerics import (
    INT7,
    INT8,
    NoiseSum,
    affine,
    cosine,
    fake_quantize,
    max_abs,
    relative_error,
    sqnr_db,
)

vectors = arrays(np.float32, 20, elements=st.floats(-100, 100, width=32))


def test_known_values():
    r, o = np.array([3.0, 4.0]), np.array([3.0, 3.5])
    assert sqnr_db(r, o) == pytest.approx(20.0)
    assert relative_error(r, o) == pytest.approx(0.1)
    assert max_abs(r, o) == 0.5
    assert cosine([1.0, 0.0], [1.0, 1.0]) == pytest.approx(math.sqrt(0.5))
    assert cosine([1.0, 2.0], [-1.0, -2.0]) == pytest.approx(-1.0)


def test_a_doubled_scale_is_seen_by_sqnr_though_not_by_cosine():
    r = np.random.default_rng(0).normal(size=1000)
    assert cosine(r, 2 * r) == pytest.approx(1.0)
    assert sqnr_db(r, 2 * r) == pytest.approx(0.0)
    assert relative_error(r, 2 * r) == pytest.approx(1.0)


def test_a_bit_is_worth_six_decibels():
    x = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    eight, seven = (sqnr_db(x, fake_quantize(x, affine(-1, 1, f))) for f in (INT8, INT7))
    assert eight == pytest.approx(20 * math.log10(255), abs=0.1)
    assert eight - seven == pytest.approx(6.02, abs=0.1)


def test_equal_zero_and_empty():
    zero, one = np.zeros(3), np.ones(3)
    assert sqnr_db(one, one) == math.inf
    assert sqnr_db(zero, zero) == math.inf
    assert sqnr_db(zero, one) == -math.inf
    assert relative_error(zero, zero) == 0.0
    assert relative_error(zero, one) == math.inf
    assert (cosine(zero, zero), cosine(zero, one)) == (1.0, 0.0)
    assert (sqnr_db([], []), max_abs([], []), cosine([], [])) == (math.inf, 0.0, 1.0)
    assert NoiseSum().rms == 0.0


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_value_that_is_not_finite_is_the_worst_noise(bad):
    good, broken = np.array([1.0, 2.0]), np.array([1.0, bad])
    for r, o in ((good, broken), (broken, good)):
        assert sqnr_db(r, o) == -math.inf
        assert relative_error(r, o) == math.inf
        assert max_abs(r, o) == math.inf
        assert math.isnan(cosine(r, o))
    assert sqnr_db(broken, broken) == math.inf
    assert sqnr_db(broken, np.array([1.1, bad])) == pytest.approx(20.0)


@given(st.lists(st.tuples(vectors, vectors), min_size=1, max_size=4))
def test_streaming_and_merging_agree_with_the_whole(pairs):
    streamed, merged = NoiseSum(), NoiseSum()
    for r, o in pairs:
        streamed.add(r, o)
        part = NoiseSum()
        part.add(r, o)
        merged = part.merge(merged)
    r, o = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    for total in (streamed, merged):
        assert total.count == r.size
        assert total.max_abs == np.abs(r - o).max()
        assert total.signal_energy == pytest.approx(float((r**2).sum()), rel=1e-12)
        assert total.noise_energy == pytest.approx(float(((r - o) ** 2).sum()), rel=1e-12)
    assert streamed.rms == pytest.approx(math.sqrt(np.mean((r - o) ** 2)), rel=1e-12)


def test_blocks_do_not_show():
    rng = np.random.default_rng(0)
    r = rng.normal(size=(7, 30_011)).astype(np.float32)
    o = r + rng.normal(size=r.shape).astype(np.float32) / 100
    expected = 10 * math.log10(np.sum(r.astype(np.float64) ** 2) / np.sum((r.astype(np.float64) - o) ** 2))
    assert sqnr_db(r, o) == pytest.approx(expected, rel=1e-12)


@given(vectors, vectors)
def test_cosine_is_bounded_and_ignores_size(a, b):
    assert -1.0 <= cosine(a, b) <= 1.0
    assert cosine(a * np.float32(2.0**60), b) == cosine(a, b)
    assert cosine(a.astype(np.float64) * 2.0**-900, b) == cosine(a, b)


def test_shapes_must_be_equal():
    for measure in (sqnr_db, relative_error, max_abs, cosine):
        with pytest.raises(ValueError, match="shapes"):
            measure(np.zeros((2, 3)), np.zeros((3, 2)))
