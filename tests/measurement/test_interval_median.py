"""The interval of a median against the exact binomial, and paired speedups."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits.errors import InputError
from fewbits.measurement.interval import median_interval, speedup


def coverage(n: int, k: int) -> float:
    """P(x(k) <= median <= x(n+1-k)), summed exactly in integers."""
    return 1 - 2 * sum(comb(n, j) for j in range(k)) / 2**n


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 9, 10, 25, 100])
def test_ranks_are_the_tightest_that_reach_the_confidence(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1))
    low, median, high = median_interval(values, confidence)
    k = int(low)
    assert (low, median, high) == (k, (n + 1) / 2, n + 1 - k)
    reachable = n > 1 and coverage(n, 1) >= confidence
    if reachable:
        assert coverage(n, k) >= confidence
    else:
        assert k == 1
    if k + 1 <= n - k:
        assert coverage(n, k + 1) < confidence


def test_the_textbook_case() -> None:
    # n = 10: ranks 2 and 9 cover 1 - 22/1024 = 0.979, ranks 3 and 8 only 0.891.
    assert median_interval([7, 3, 9, 1, 5, 10, 2, 8, 4, 6], 0.95) == (2, 5.5, 9)


def test_few_values_give_all_there_is() -> None:
    assert median_interval([3.0], 0.95) == (3.0, 3.0, 3.0)
    assert median_interval([5.0, 1.0, 2.0], 0.95) == (1.0, 2.0, 5.0)


def test_coverage_on_a_skewed_distribution() -> None:
    rng = np.random.default_rng(1)
    inside = [
        low <= np.log(2) <= high
        for low, _, high in (median_interval(rng.exponential(size=30), 0.95) for _ in range(2000))
    ]
    # Ranks 10 and 21 of 30 cover 0.957 exactly.
    assert np.mean(inside) == pytest.approx(coverage(30, 10), abs=0.015)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=40), st.floats(0.01, 0.999))
def test_ordered_and_from_the_values(values: list[float], confidence: float) -> None:
    low, median, high = median_interval(values, confidence)
    assert low <= median <= high
    assert low in values
    assert high in values


def test_speedup_pairs_its_rounds() -> None:
    # A machine that slows down twofold between rounds: unpaired ratios would reach from 1 to 4.
    reference = np.array([10, 20, 10, 20, 10, 20, 10, 20.0])
    assert speedup(reference, reference / 2, 0.95) == (2.0, 2.0, 2.0)
    low, median, high = speedup([8, 9, 12], [4, 3, 6], 0.95)
    assert (low, median, high) == (2.0, 2.0, 3.0)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=20))
def test_swapping_models_inverts_the_speedup(rounds: list[tuple[float, float]]) -> None:
    first, second = (list(side) for side in zip(*rounds, strict=True))
    low, _, high = speedup(first, second, 0.9)
    swapped_low, _, swapped_high = speedup(second, first, 0.9)
    assert (1 / swapped_high, 1 / swapped_low) == pytest.approx((low, high), rel=1e-12)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="not paired"):
        speedup([1, 2], [1], 0.95)
    with pytest.raises(ValueError, match="positive"):
        speedup([1, 0], [1, 1], 0.95)
    with pytest.raises(ValueError, match="at least one"):
        median_interval([], 0.95)
    with pytest.raises(ValueError, match="finite"):
        median_interval([1, float("nan")], 0.95)
    with pytest.raises(InputError, match="--confidence"):
        median_interval([1, 2], 1.0)
