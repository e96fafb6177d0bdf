"""Intervals of a drop: by hand, by simulated coverage, and by symmetry."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewbits.errors import DataError, InputError
from fewbits.measurement.interval import Drop, _expanded, bonett_price, paired_drop, samples_needed
from fewbits.measurement.metrics import AveragePrecision, Cosine, MeanIoU, Top

TOP1, COSINE, MIOU = Top(1), Cosine(), MeanIoU()


def test_bonett_price_by_hand() -> None:
    # 98 pairs, 9 lost, 4 gained: p̃12 = 10/100, p̃21 = 5/100, variance (0.15 - 0.05²)/100 = 0.001475.
    arm = 1.959963984540054 * math.sqrt(0.001475)
    assert bonett_price(9, 4, 98, 0.95) == pytest.approx((0.05 - arm, 0.05 + arm), abs=1e-12)


def test_paired_drop_counts_discordant_pairs() -> None:
    reference = [1] * 9 + [0] * 4 + [1] * 50 + [0] * 35
    candidate = [0] * 9 + [1] * 4 + [1] * 50 + [0] * 35
    drop = paired_drop(TOP1, reference, candidate, 0.95)
    low, high = bonett_price(9, 4, 98, 0.95)
    assert drop == Drop(pytest.approx(5 / 98), low, high, 0.95, "bonett-price", 98)
    assert drop.low < 0 < drop.high


@pytest.mark.parametrize(
    ("samples", "p12", "p21"),
    [
        (50, 0.05, 0.05),
        (100, 0.03, 0.01),
        (300, 0.01, 0.01),
        (650, 0.05, 0.02),
        (650, 0.002, 0.0),
        (30, 0.4, 0.1),
    ],
)
def test_bonett_price_covers(samples: int, p12: float, p21: float) -> None:
    rng = np.random.default_rng(20240501)
    counts = rng.multinomial(samples, [p12, p21, 1 - p12 - p21], size=3000)
    covered = 0
    for (lost, gained), times in zip(*np.unique(counts[:, :2], axis=0, return_counts=True), strict=True):
        low, high = bonett_price(int(lost), int(gained), samples, 0.95)
        covered += times * (low <= p12 - p21 <= high)
    assert covered / 3000 >= 0.93


def test_bonett_price_is_not_trivially_wide() -> None:
    # The ruler of the test above has two ends: near the normal limit the coverage is nominal, not 1.
    rng = np.random.default_rng(7)
    counts = rng.multinomial(2000, [0.06, 0.04, 0.9], size=2000)
    inside = [low <= 0.02 <= high for low, high in (bonett_price(a, b, 2000, 0.8) for a, b, _ in counts.tolist())]
    assert 0.77 <= np.mean(inside) <= 0.83


@pytest.mark.parametrize("samples", [8, 30, 200])
def test_bootstrap_of_means_covers(samples: int) -> None:
    rng = np.random.default_rng(11)
    inside = 0
    for trial in range(400):
        reference = rng.uniform(0.5, 0.9, samples)
        candidate = np.clip(reference - 0.02 + rng.normal(0, 0.03, samples), 0, 1)
        drop = paired_drop(COSINE, reference.tolist(), candidate.tolist(), 0.9, resamples=500, seed=trial)
        inside += drop.low <= 0.02 <= drop.high
    # 400 trials: three standard errors are 0.045.
    assert 0.85 <= inside / 400 <= 0.95


def test_bootstrap_width_is_that_of_the_paired_mean() -> None:
    rng = np.random.default_rng(3)
    reference = rng.uniform(0.2, 0.8, 400)
    noise = rng.normal(0.01, 0.02, 400)
    drop = paired_drop(COSINE, reference.tolist(), (reference - noise).tolist(), 0.95)
    arm = NormalDist().inv_cdf(0.975) * noise.std(ddof=1) / 20
    assert drop.method == "bootstrap"
    assert drop.estimate == pytest.approx(noise.mean(), abs=1e-12)
    # Far narrower than the unpaired interval (0.17/20): within a tenth of the paired one.
    assert drop.high - drop.estimate == pytest.approx(arm, rel=0.1)
    assert drop.estimate - drop.low == pytest.approx(arm, rel=0.1)


def test_bootstrap_batches_do_not_change_what_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    reference, candidate = rng.random((2, 60)).tolist()
    whole = paired_drop(COSINE, reference, candidate, 0.95, resamples=4000)
    monkeypatch.setattr("fewbits.measurement.interval.BATCH_VALUES", 130)  # two resamples at once
    pieces = paired_drop(COSINE, reference, candidate, 0.95, resamples=4000)
    assert pieces.low == whole.low
    assert pieces.high == whole.high


def test_few_samples_expand_the_percentiles() -> None:
    # t(0.975, 7) = 2.364624, times sqrt(8/7) = 2.527890, and the normal tail below it 0.0057373.
    low, high = _expanded(np.linspace(0, 1, 100_001), 8, 0.95)
    assert (low, 1 - high) == pytest.approx((0.0057373, 0.0057373), abs=1e-6)


def test_equal_differences_give_a_point_and_no_warning() -> None:
    drop = paired_drop(COSINE, [0.75, 0.5, 1.0], [0.5, 0.25, 0.75], 0.95)
    assert (drop.low, drop.estimate, drop.high) == (0.25, 0.25, 0.25)


def test_one_sample_proves_nothing() -> None:
    drop = paired_drop(COSINE, [0.75], [0.5], 0.95)
    assert (drop.low, drop.estimate, drop.high) == (-1.0, 0.25, 1.0)
    mask = MIOU.observe({"y": np.eye(2)[None, :, None]}, np.array([[0, 1]]), None)
    drop = paired_drop(MIOU, [mask], [mask], 0.95)
    assert (drop.low, drop.estimate, drop.high) == (-1.0, 0.0, 1.0)


def masks(rng: np.random.Generator, samples: int, wrong: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Evidence of a reference and of a candidate that has a share of its pixels wrong."""
    reference, candidate = [], []
    for _ in range(samples):
        mask = rng.integers(0, 3, (6, 6))
        spoilt = np.where(rng.random((6, 6)) < wrong, (mask + 1) % 3, mask)
        reference.append(MIOU.observe({"y": np.eye(3)[mask].transpose(2, 0, 1)[None]}, mask, None))
        candidate.append(MIOU.observe({"y": np.eye(3)[spoilt].transpose(2, 0, 1)[None]}, mask, None))
    return reference, candidate


def test_set_metrics_are_resampled_as_pairs() -> None:
    reference, candidate = masks(np.random.default_rng(2), 40, 0.1)
    drop = paired_drop(MIOU, reference, candidate, 0.95, resamples=300)
    assert drop.method == "bootstrap"
    assert drop.estimate == pytest.approx(1 - MIOU.score(candidate))
    # A share w of wrong pixels gives IoU (1 - w)/(1 + w), of slope -2/(1 + w)^2, and w is known to
    # sqrt(0.09/1440) at w = 0.1: an arm of 1.96 * 0.0079 * 1.65.
    assert drop.low < drop.estimate < drop.high
    assert (drop.high - drop.low) / 2 == pytest.approx(0.0256, rel=0.2)
    same = paired_drop(MIOU, candidate, candidate, 0.95, resamples=50)
    assert (same.low, same.estimate, same.high) == (0.0, 0.0, 0.0)


def test_resamples_without_anything_to_score_are_left_out() -> None:
    reference, candidate = masks(np.random.default_rng(4), 2, 0.5)
    empty = np.zeros((3, 3), np.int64)
    drop = paired_drop(MIOU, [*reference, empty], [*candidate, empty], 0.8, resamples=200)
    assert 0 < drop.low <= drop.estimate <= drop.high <= 1


def test_a_metric_limits_its_resamples() -> None:
    calls = 0

    class Counting(AveragePrecision):
        def score(self, evidence: object) -> float:
            nonlocal calls
            calls += 1
            return 0.5

    paired_drop(Counting(resamples=10), [0] * 5, [0] * 5, 0.95)
    assert calls == 2 * (10 + 1)


def test_misuse_is_refused() -> None:
    with pytest.raises(InputError, match="--confidence"):
        paired_drop(TOP1, [1], [1], 95)
    with pytest.raises(ValueError, match="not paired"):
        paired_drop(TOP1, [1, 0], [1], 0.95)
    with pytest.raises(DataError, match="no sample"):
        paired_drop(TOP1, [], [], 0.95)


bits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)
confidences = st.floats(0.01, 0.999)


@given(bits | fractions, confidences)
@settings(max_examples=150, deadline=None)
def test_the_estimate_lies_inside_and_everything_inside_one(
    pairs: list[tuple[float, float]], confidence: float
) -> None:
    reference, candidate = (list(side) for side in zip(*pairs, strict=True))
    drop = paired_drop(COSINE, reference, candidate, confidence, resamples=50)
    assert -1 <= drop.low <= drop.estimate <= drop.high <= 1


@given(bits | fractions, confidences)
@settings(max_examples=100, deadline=None)
def test_identical_evidence_has_no_drop(pairs: list[tuple[float, float]], confidence: float) -> None:
    scores = [pair[0] for pair in pairs]
    drop = paired_drop(COSINE, scores, scores, confidence, resamples=50)
    assert drop.estimate == 0
    assert drop.low <= 0 <= drop.high


@given(bits | fractions, confidences)
@settings(max_examples=100, deadline=None)
def test_swapping_mirrors(pairs: list[tuple[float, float]], confidence: float) -> None:
    reference, candidate = (list(side) for side in zip(*pairs, strict=True))
    one = paired_drop(COSINE, reference, candidate, confidence, resamples=50)
    other = paired_drop(COSINE, candidate, reference, confidence, resamples=50)
    assert (-other.high, -other.estimate, -other.low) == pytest.approx((one.low, one.estimate, one.high), abs=1e-12)


def test_samples_needed_with_no_discordance_solves_bonett_price() -> None:
    # high(n) = z sqrt(2)/(n + 2) <= 0.01  =>  n >= 275.2
    same = [1, 0] * 50
    drop = paired_drop(TOP1, same, same, 0.95)
    assert drop.high == pytest.approx(1.959963984540054 * math.sqrt(2) / 102)
    assert samples_needed(drop, 0.01) == 276


@pytest.mark.parametrize(("lost", "gained", "samples"), [(4, 2, 300), (10, 10, 200), (1, 0, 50), (3, 9, 100)])
def test_samples_needed_is_where_scaled_counts_prove(lost: int, gained: int, samples: int) -> None:
    reference = [1] * lost + [0] * gained + [1] * (samples - lost - gained)
    candidate = [0] * lost + [1] * gained + [1] * (samples - lost - gained)
    drop = paired_drop(TOP1, reference, candidate, 0.95)
    needed = samples_needed(drop, 0.025)
    assert needed is not None
    grown = needed / samples
    assert bonett_price(lost * grown, gained * grown, needed, 0.95)[1] <= 0.025 + 1e-9  # type: ignore[arg-type]
    if needed > samples:
        fewer = (needed - 1) / samples
        assert bonett_price(lost * fewer, gained * fewer, needed - 1, 0.95)[1] > 0.025 - 1e-9  # type: ignore[arg-type]


def test_samples_needed_scales_a_bootstrap_by_the_root() -> None:
    drop = Drop(0.01, 0.0, 0.03, 0.95, "bootstrap", 100)
    assert samples_needed(drop, 0.02) == 400
    assert samples_needed(drop, 0.03) == 100
    assert samples_needed(drop, 0.01) is None
    assert samples_needed(drop, 0.005) is None
