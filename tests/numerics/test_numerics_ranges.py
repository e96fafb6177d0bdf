import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.stats import entropy as kl_divergence
from scipy.stats import norm

from fewbits.numerics import (
    INT7,
    INT8,
    INT8_NARROW,
    METHODS,
    UINT8,
    Histogram,
    IntegerFormat,
    RangeEvidence,
    affine,
    entropy,
    estimate,
    fake_quantize,
    minmax,
    mse,
    percentile,
    symmetric,
)
from fewbits.numerics.range_entropy import _divergence
from fewbits.numerics.range_mse import _cost, _Side

INT4 = IntegerFormat("int4", 4, signed=True, narrow=True)
UINT4 = IntegerFormat("uint4", 4, signed=False)
CASES = [(INT8, True), (INT8, False), (UINT8, False), (UINT8, True), (INT4, True), (UINT4, False)]
ALL = list(METHODS)

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=100_000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
UNIFORM = RNG.uniform(-1, 1, 100_000).astype(np.float32)
LAPLACE = RNG.laplace(size=100_000).astype(np.float32)
OUTLIERS = np.append(NORMAL, np.array([30.0, -25.0], np.float32))


def qparams(low, high, format, is_symmetric):
    return symmetric(max(-low, high), format) if is_symmetric else affine(low, high, format)


def true_mse(values, span, format, is_symmetric) -> float:
    restored = fake_quantize(values, qparams(*span, format, is_symmetric))
    return float(np.mean((restored.astype(np.float64) - values) ** 2))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("format", "is_symmetric"), CASES)
@settings(max_examples=40)
@given(
    arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.one_of(st.floats(-1, 1, width=32), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    ),
    st.sampled_from([2, 16, 4096]),
)
def test_a_range_contains_zero_and_only_what_was_seen(method, format, is_symmetric, values, bins):
    low, high = estimate(method, RangeEvidence.of(values, bins), format, is_symmetric)
    assert min(float(values.min()), 0.0) <= low <= 0.0 <= high <= max(float(values.max()), 0.0)
    representable = values[values > 0] if is_symmetric and not format.signed else values[values != 0]
    assert (high > low) == (representable.size > 0)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("format", "is_symmetric"), CASES)
@pytest.mark.parametrize("values", [[0.0], [0.0] * 9, [5.0], [-5.0], [1e-40, 0.0], [3e38, -3e38]])
def test_degenerate_evidence(method, format, is_symmetric, values):
    span = estimate(method, RangeEvidence.of(values), format, is_symmetric)
    restored = fake_quantize(np.zeros(1, np.float32), qparams(*span, format, is_symmetric))
    assert restored.tolist() == [0.0]


@pytest.mark.parametrize("method", ALL)
def test_without_a_histogram_the_extremes_are_used(method):
    evidence = RangeEvidence(-1.0, 2.0, Histogram.empty())
    assert estimate(method, evidence, INT8, False) == (-1.0, 2.0)


@pytest.mark.parametrize("method", ALL)
def test_the_answer_scales_with_the_data(method):
    """Scaling by a power of two moves no value to another bin, so the answer is exactly scaled."""
    for format, is_symmetric in CASES:
        low, high = estimate(method, RangeEvidence.of(NORMAL), format, is_symmetric)
        doubled = estimate(method, RangeEvidence.of(NORMAL * 2), format, is_symmetric)
        assert doubled == (2 * low, 2 * high)


@pytest.mark.parametrize("method", ALL)
def test_mirrored_data_give_the_mirrored_range(method):
    values = np.where(LAPLACE > 0, LAPLACE * 3, LAPLACE) + np.float32(1e-4)
    low, high = estimate(method, RangeEvidence.of(values), INT8, False)
    mirrored = estimate(method, RangeEvidence.of(-values), INT8, False)
    width = RangeEvidence.of(values).histogram.width
    np.testing.assert_allclose(mirrored, (-high, -low), atol=width, rtol=0)


def test_minmax_is_what_was_seen():
    evidence = RangeEvidence.of([-1.0, 3.0])
    assert minmax(evidence, INT8, False) == (-1.0, 3.0)
    assert minmax(evidence, UINT8, True) == (0.0, 3.0)
    assert minmax(RangeEvidence.of([2.0, 3.0]), INT8, False) == (0.0, 3.0)
    assert minmax(RangeEvidence.of([-3.0, -2.0]), INT8, False) == (-3.0, 0.0)


@pytest.mark.parametrize(("share", "beyond"), [(0.9, 10_000), (0.99, 1000), (0.9999, 10)])
def test_percentile_cuts_the_tail_and_not_one_bin_more(share, beyond):
    evidence = RangeEvidence.of(NORMAL)
    width = evidence.histogram.width
    low, high = percentile(evidence, INT8, False, share=share)
    for side, end in ((-NORMAL, -low), (NORMAL, high)):
        assert np.sum(side > end) <= beyond / 2 < np.sum(side > end - width)
    threshold = percentile(evidence, INT8, True, share=share)[1]
    assert np.sum(np.abs(NORMAL) > threshold) <= beyond < np.sum(np.abs(NORMAL) > threshold - width)


def test_percentile_of_few_values_keeps_all():
    values = NORMAL[:5000]
    assert percentile(RangeEvidence.of(values), INT8, True) == (values.min(), values.max())
    assert percentile(RangeEvidence.of(values), INT8, False, share=1.0) == (values.min(), values.max())
    for share in (0.0, 1.1, np.nan):
        with pytest.raises(ValueError, match="share"):
            percentile(RangeEvidence.of(values), INT8, True, share=share)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("format", "is_symmetric"), [(UINT8, False), (INT8, True), (INT8, False)])
def test_zeros_of_a_relu_change_nothing(method, format, is_symmetric):
    """Zero is a level whatever the range, so a million more of them must not move it."""
    dense = RangeEvidence.of(RELU[RELU > 0])
    sparse = RangeEvidence.of(np.concatenate([RELU, np.zeros(3_000_000, np.float32)]))
    assert estimate(method, sparse, format, is_symmetric) == estimate(
        method, RangeEvidence(0.0, dense.maximum, dense.histogram), format, is_symmetric
    )
    assert estimate(method, sparse, format, is_symmetric)[1] > 3.0


@pytest.mark.parametrize(("format", "is_symmetric"), [(INT8, True), (INT7, True), (INT8_NARROW, False), (INT4, True)])
@pytest.mark.parametrize("method", ["mse", "percentile"])
def test_outliers_are_clipped(method, format, is_symmetric):
    """Far and rare: one in a million, so that even its squared error weighs less than the bulk's."""
    values = np.append(np.tile(NORMAL, 10), np.float32(15.0))
    evidence = RangeEvidence.of(values)
    low, high = estimate(method, evidence, format, is_symmetric)
    assert max(-low, high) < 14.0
    best = true_mse(values, minmax(evidence, format, is_symmetric), format, is_symmetric)
    assert true_mse(values, (low, high), format, is_symmetric) < 0.9 * best


@pytest.mark.parametrize(("format", "is_symmetric"), CASES)
@pytest.mark.parametrize(
    "values",
    [NORMAL, RELU, UNIFORM, LAPLACE, OUTLIERS, -RELU],
    ids=["normal", "relu", "uniform", "laplace", "outliers", "negative"],
)
def test_mse_is_near_the_best_found_by_trying(values, format, is_symmetric):
    if is_symmetric and not format.signed:
        values = np.abs(values)
    evidence = RangeEvidence.of(values)
    found = true_mse(values, mse(evidence, format, is_symmetric), format, is_symmetric)
    low, high = minmax(evidence, format, is_symmetric)
    shrink = np.linspace(0.05, 1.0, 24)
    pairs = [(low * s, high * s) for s in shrink]
    if not is_symmetric and format.bits == 4:
        pairs += [(low * a, high * b) for a in shrink[::4] for b in shrink[::4]]
    best = min(true_mse(values, pair, format, is_symmetric) for pair in pairs)
    assert found <= 1.06 * best


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("format", "is_symmetric"), [(INT8, True), (INT8, False), (UINT8, False)])
def test_uniform_data_are_not_clipped(method, format, is_symmetric):
    values = UNIFORM if format.signed else UNIFORM + 1
    evidence = RangeEvidence.of(values)
    step = (evidence.maximum - min(evidence.minimum, 0.0)) / (format.levels - 1)
    whole = minmax(evidence, format, is_symmetric)
    np.testing.assert_allclose(estimate(method, evidence, format, is_symmetric), whole, atol=1.01 * step, rtol=0)


@pytest.mark.parametrize("format", [INT4, INT7, INT8], ids=lambda f: f.name)
def test_mse_finds_the_optimum_of_a_normal_distribution(format):
    """J(t) = 2 int_t^inf (x - t)**2 phi(x) dx + (t / qmax)**2 / 12, minimised in closed form."""

    def cost(t):
        return 2 * ((1 + t**2) * norm.sf(t) - t * norm.pdf(t)) + (t / format.qmax) ** 2 / 12

    expected = minimize_scalar(cost, bounds=(1.0, 6.0), method="bounded").x
    count = 1_000_000
    values = norm.ppf((np.arange(count) + 0.5) / count).astype(np.float32)
    low, high = mse(RangeEvidence.of(values), format, True)
    assert -low == pytest.approx(high, abs=1e-5)
    assert high == pytest.approx(expected, abs=0.04)


def test_mse_cost_equals_the_objective_point_by_point():
    rng = np.random.default_rng(4)
    negative, positive = rng.integers(0, 100, (2, 16)).astype(np.float64)
    parts = 2000
    x = (np.arange(16 * parts) + 0.5) / parts
    for intervals in (3, 7, 15, 255):
        lows, highs = np.array([0, 3, 16]), np.array([2, 9, 16])
        got = _cost(_Side(negative), _Side(positive), lows, highs, intervals)
        for i, low in enumerate(lows):
            for j, high in enumerate(highs):
                step = (low + high) / intervals
                expected = 0.0
                for mass, end in ((negative, low), (positive, high)):
                    rounding = np.where(x < step / 2, x**2, step**2 / 12)
                    error = np.where(x > end, (x - end) ** 2, rounding)
                    expected += float(np.sum(np.repeat(mass, parts) * error)) / parts
                assert got[i, j] == pytest.approx(expected, rel=1e-3)


def divergence_by_loop(mass, i, levels) -> float:
    """Migacz' pseudo code, bin by bin."""
    p = mass[:i].copy()
    p[-1] += mass[i:].sum()
    q = np.zeros(i)
    borders = i * np.arange(levels + 1) // levels
    for first, last in itertools.pairwise(borders):
        group = mass[first:last]
        used = group > 0
        q[first:last][used] = group.sum() / max(used.sum(), 1)
    return float(kl_divergence(p, q))


@pytest.mark.parametrize(
    "values", [NORMAL, LAPLACE[:3000], OUTLIERS, UNIFORM], ids=["normal", "laplace", "outliers", "uniform"]
)
@pytest.mark.parametrize("levels", [8, 128])
def test_entropy_equals_the_loop_it_replaces(values, levels):
    mass = RangeEvidence.of(values).sides(INT8, True)[1]
    ends = np.flatnonzero(mass) + 1
    candidates = ends[ends > levels][::7]
    expected = [divergence_by_loop(mass, int(i), levels) for i in candidates]
    np.testing.assert_allclose(_divergence(mass, candidates, levels), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("format", "is_symmetric"), [(INT8, True), (INT8, False), (INT4, True)])
def test_entropy_clips_outliers_and_keeps_the_bulk(format, is_symmetric):
    low, high = entropy(RangeEvidence.of(OUTLIERS), format, is_symmetric)
    assert 3.0 < high < 10.0
    assert -10.0 < low < -3.0


@pytest.mark.parametrize("format", [INT7, INT4], ids=lambda f: f.name)
def test_entropy_takes_the_least_divergence_at_the_levels_of_the_format(format):
    evidence = RangeEvidence.of(LAPLACE[:5000], bins=512)  # so few that every candidate is tried
    mass = evidence.sides(format, True)[1]
    levels = format.qmax + 1
    candidates = [int(i) for i in np.flatnonzero(mass) + 1 if i > levels]
    best = min(candidates, key=lambda i: divergence_by_loop(mass, i, levels))
    low, high = entropy(evidence, format, True)
    assert max(-low, high) == best * evidence.histogram.width


def test_entropy_keeps_a_side_of_a_few_bins_whole():
    values = np.linspace(-0.1, 100.0, 50_000)
    assert entropy(RangeEvidence.of(values), INT8, False)[0] == np.float32(-0.1)


def test_entropy_keeps_a_short_side():
    x = NORMAL * 3
    hard_swish = (x * np.clip(x + 3, 0, 6) / 6).astype(np.float32)
    low, high = entropy(RangeEvidence.of(hard_swish), INT8, False)
    assert low < -0.35
    assert high > 8.0


@pytest.mark.parametrize("method", ALL)
def test_estimates_are_fast(method):
    evidence = RangeEvidence.of(LAPLACE)
    best_ms = np.inf
    for _ in range(5):
        start = time.perf_counter_ns()
        estimate(method, evidence, INT8, False)
        best_ms = min(best_ms, (time.perf_counter_ns() - start) / 1e6)
    assert best_ms < 20.0


def test_unknown_methods_and_empty_evidence_are_refused():
    with pytest.raises(ValueError, match=r"unknown range method 'max'.*minmax"):
        estimate("max", RangeEvidence.of([1.0]), INT8, True)
    for values in ([], [np.nan, np.inf]):
        with pytest.raises(ValueError, match="no range"):
            RangeEvidence.of(values)
    for low, high in ((1.0, 0.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="no range"):
            RangeEvidence(low, high, Histogram.empty())
