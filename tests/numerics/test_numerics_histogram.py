import io
import math
from fractions import Fraction
from functools import reduce

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits.numerics import Histogram

any_float = st.floats(width=32)
values_of_all_sizes = st.lists(any_float, max_size=30)
BINS = 16


def histogram(values, bins: int = BINS) -> Histogram:
    result = Histogram.empty(bins)
    result.add(np.array(values, np.float32))
    return result


@given(values_of_all_sizes)
def test_every_value_is_in_its_bin(values):
    h = histogram(values)
    width = Fraction(2) ** h.exponent
    expected = np.zeros(BINS, np.int64)
    for v in values:
        if math.isfinite(v):
            expected[math.floor(Fraction(v) / width) + BINS // 2] += 1
    np.testing.assert_array_equal(h.counts, expected)
    assert h.count == sum(map(math.isfinite, values))
    assert h.nonfinite == len(values) - h.count
    assert h.zeros == values.count(0.0)


@given(values_of_all_sizes)
def test_the_exponent_is_the_smallest_at_which_all_fit(values):
    finite = [Fraction(v) for v in values if math.isfinite(v)]
    k = -126
    while not all(-BINS // 2 <= v / Fraction(2) ** k < BINS // 2 for v in finite):
        k += 1
    assert histogram(values).exponent == k


@given(st.lists(values_of_all_sizes, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_chunks_order_and_merges_do_not_matter(chunks, random):
    whole = histogram([v for chunk in chunks for v in chunk])
    shuffled = list(chunks)
    random.shuffle(shuffled)
    streamed = Histogram.empty(BINS)
    for chunk in shuffled:
        streamed.add(np.array(random.sample(chunk, len(chunk)), np.float32))
    assert streamed == whole
    parts = [histogram(chunk) for chunk in shuffled]
    assert reduce(Histogram.merge, parts) == whole
    assert reduce(lambda a, b: b.merge(a), parts) == whole


@given(values_of_all_sizes, values_of_all_sizes, values_of_all_sizes)
def test_merge_is_associative_and_commutative(a, b, c):
    x, y, z = histogram(a), histogram(b), histogram(c)
    before = histogram(a), histogram(b)
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(Histogram.empty(BINS)) == x
    assert (x, y) == before
    assert not np.shares_memory(x.merge(y).counts, x.counts)


@settings(max_examples=20)
@given(st.integers(1, 50_000), st.integers(-100, 100), st.integers(0, 2**32 - 1))
def test_large_arrays_cut_into_blocks(block, exponent, seed):
    values = np.random.default_rng(seed).normal(size=60_000) * 2.0**exponent
    whole = Histogram.empty()
    whole.add(values)
    pieces = Histogram.empty()
    for start in range(0, values.size, block * 10):
        pieces.add(values[start : start + block * 10])
    assert pieces == whole
    expected = np.histogram(values.astype(np.float32).astype(np.float64), whole.edges())[0]
    np.testing.assert_array_equal(whole.counts, expected)


@pytest.mark.parametrize("exponent", [-140, -126, -20, 0, 1, 11, 100])
def test_borders_belong_to_the_bin_above(exponent):
    border = np.float32(2.0**exponent)
    below = np.nextafter(border, np.float32(0))
    h = histogram([border, below, -border, -below, np.nextafter(-border, np.float32(-np.inf))])
    edges = h.edges()
    for v in (border, below, -border, -below):
        i = np.searchsorted(edges, v, side="right") - 1
        assert h.counts[i] > 0


def test_tiny_negative_values_stay_below_zero_beside_huge_ones():
    tiny = np.array([-1e-45, 1e-45], np.float32)
    first = histogram(tiny)
    first.add(np.array([3e38], np.float32))
    second = histogram([3e38])
    second.add(tiny)
    assert first == second
    assert first.counts[BINS // 2 - 1] == 1
    assert first.counts[BINS // 2] == 1


def test_one_sided_data_keep_their_resolution():
    for top in (1.0, 1.999, 6.0, 1e-20, 1e20):
        h = Histogram.empty()
        h.add(np.linspace(0, top, 100_000, dtype=np.float32))
        assert 1024 <= np.count_nonzero(h.counts) <= 2048


def test_shapes_types_and_special_values():
    h = Histogram.empty(BINS)
    h.add(np.array([[1.0, np.nan], [-np.inf, 0.0]]))
    h.add(np.array([-0.0, 0.5], np.float16))
    h.add(np.array([2.0], ml_dtypes.bfloat16))
    h.add(np.array([[3]], np.int64))
    h.add(np.array([1e300]))
    h.add([])
    h.add(np.full(4, np.nan))
    assert (h.count, h.nonfinite, h.zeros) == (6, 7, 2)
    h.add(np.arange(10, dtype=np.float32)[::-3])
    assert (h.count, h.zeros) == (10, 3)


def test_edges_and_centers():
    h = histogram([-1.0, 0.99], bins=4)
    assert h.width == 0.5
    assert h.edges().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert h.centers().tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert h.counts.tolist() == [1, 0, 0, 1]


@given(values_of_all_sizes)
def test_arrays_bring_it_back(values):
    h = histogram(values)
    file = io.BytesIO()
    np.savez(file, **h.to_arrays())
    file.seek(0)
    with np.load(file) as arrays:
        back = Histogram.from_arrays(arrays)
    assert back == h
    back.add([1.0])
    assert back != h


@pytest.mark.parametrize(
    "change",
    [
        {"counts": np.zeros(3, np.int64)},
        {"counts": np.zeros(0, np.int64)},
        {"counts": np.zeros((4, 4), np.int64)},
        {"counts": np.full(4, -1)},
        {"exponent": np.array(-127)},
        {"zeros": np.array(1)},
        {"nonfinite": np.array(-1)},
    ],
)
def test_broken_arrays_are_refused(change):
    with pytest.raises(ValueError, match=r"histogram|bins"):
        Histogram.from_arrays(Histogram.empty(4).to_arrays() | change)
    with pytest.raises(KeyError):
        Histogram.from_arrays({})


def test_bad_bins_and_mixed_merges_are_refused():
    for bins in (0, 1, 3, 100):
        with pytest.raises(ValueError, match="power of two"):
            Histogram.empty(bins)
    with pytest.raises(ValueError, match="cannot merge"):
        Histogram.empty(4).merge(Histogram.empty(8))
    assert Histogram.empty() != "histogram"
    assert "count=0" in repr(Histogram.empty())
