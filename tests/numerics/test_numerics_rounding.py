"""Rounding that looks at the inputs: its loss is held against nearest rounding's and against the best there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fewbits.numerics import round_weights

Array = NDArray[np.float64]
LOWEST, HIGHEST = -127, 127


def loss(weights: Array, levels: Array, scale: Array, moments: Array) -> Array:
    """(w - w~) H (w - w~)^T of every row, [G, O]."""
    error = weights - levels * scale[:, :, None]
    return np.einsum("god,gde,goe->go", error, moments, error)


def nearest(weights: Array, scale: Array, lowest: int = LOWEST, highest: int = HIGHEST) -> Array:
    return np.clip(np.rint(weights / scale[:, :, None]), lowest, highest)


def moments_of(rng: np.random.Generator, groups: int, size: int, seen: int) -> Array:
    """Of ``seen`` inputs that are mixtures of each other."""
    inputs = rng.normal(size=(groups, size, size)) @ rng.normal(size=(groups, size, seen))
    return inputs @ inputs.transpose(0, 2, 1) / seen


def layer(
    rng: np.random.Generator, groups: int, outputs: int, size: int, highest: int = HIGHEST
) -> tuple[Array, Array]:
    weights = rng.normal(size=(groups, outputs, size))
    return weights, np.abs(weights).max(axis=2) / highest


@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 3),
    outputs=st.integers(1, 6),
    size=st.integers(1, 90),  # more than one block of columns
    seen=st.integers(1, 120),  # fewer than inputs: H has no inverse
    highest=st.sampled_from([7, 63, 127]),
)
@settings(max_examples=120)
def test_no_row_is_worse_than_rounded_to_the_nearest(
    seed: int, groups: int, outputs: int, size: int, seen: int, highest: int
) -> None:
    rng = np.random.default_rng(seed)
    weights, scale = layer(rng, groups, outputs, size, highest)
    moments = moments_of(rng, groups, size, seen)
    levels = round_weights(weights, moments, scale, -highest, highest)
    assert levels.shape == weights.shape
    np.testing.assert_array_equal(levels, np.rint(levels))
    assert np.abs(levels).max() <= highest
    before = loss(weights, nearest(weights, scale, -highest, highest), scale, moments)
    after = loss(weights, levels, scale, moments)
    assert (after <= before * (1 + 1e-9) + 1e-12 * before.max()).all()


def test_correlated_inputs_leave_a_tenth_of_the_loss() -> None:
    """Channels that say nearly the same: an error of one is taken up by the others."""
    rng = np.random.default_rng(0)
    weights, scale = layer(rng, 2, 16, 80)
    inputs = rng.normal(size=(2, 8, 4000)).repeat(10, axis=1) + 0.05 * rng.normal(size=(2, 80, 4000))
    moments = inputs @ inputs.transpose(0, 2, 1) / 4000
    levels = round_weights(weights, moments, scale, LOWEST, HIGHEST)
    before, after = (loss(weights, w, scale, moments) for w in (nearest(weights, scale), levels))
    assert (after < before).all()
    assert after.sum() < 0.1 * before.sum()
    # The columns of the second block know the errors of the first: apart from each other they would not cancel.
    assert not np.array_equal(levels[:, :, 64:], nearest(weights, scale)[:, :, 64:])


@pytest.mark.parametrize("size", [1, 5, 64, 65, 130])
def test_inputs_that_are_not_correlated_are_rounded_to_the_nearest(size: int) -> None:
    rng = np.random.default_rng(size)
    weights, scale = layer(rng, 2, 4, size)
    moments = np.stack([np.diag(rng.uniform(0.01, 9, size)) for _ in range(2)])
    levels = round_weights(weights, moments, scale, LOWEST, HIGHEST)
    np.testing.assert_array_equal(levels, nearest(weights, scale))


def test_tiny_problems_are_close_to_the_best_of_all_choices() -> None:
    found, best, plain = [], [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(2, 7))
        weights, scale = layer(rng, 1, 1, size, 7)
        moments = moments_of(rng, 1, size, 2 * size)
        below = np.floor(weights / scale[:, :, None])
        choices = [below + np.array(ups) for ups in itertools.product((0, 1), repeat=size)]
        best.append(min(float(loss(weights, levels, scale, moments)[0, 0]) for levels in choices))
        levels = round_weights(weights, moments, scale, -8, 8)
        found.append(float(loss(weights, levels, scale, moments)[0, 0]))
        plain.append(float(loss(weights, nearest(weights, scale), scale, moments)[0, 0]))
    # Two steps away can be better still, so the best of these choices is no strict bound.
    assert np.mean(np.array(found) <= np.array(best) * (1 + 1e-9)) > 0.8
    assert sum(found) < 1.1 * sum(best)
    assert sum(plain) > 1.5 * sum(best)


def test_groups_know_nothing_of_each_other() -> None:
    rng = np.random.default_rng(3)
    weights, scale = layer(rng, 3, 5, 70)
    moments = moments_of(rng, 3, 70, 200) * np.array([1, 50, 0.001])[:, None, None]
    together = round_weights(weights, moments, scale, LOWEST, HIGHEST)
    for i in range(3):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(
            together[one], round_weights(weights[one], moments[one], scale[one], LOWEST, HIGHEST)
        )
    others = moments.copy()
    others[1:] = moments_of(rng, 2, 70, 200)
    np.testing.assert_array_equal(together[0], round_weights(weights, others, scale, LOWEST, HIGHEST)[0])
    assert not np.array_equal(together[1], round_weights(weights, others, scale, LOWEST, HIGHEST)[1])


def test_outputs_know_nothing_of_each_other_and_the_unit_of_the_moments_is_free() -> None:
    rng = np.random.default_rng(4)
    weights, scale = layer(rng, 1, 6, 30)
    moments = moments_of(rng, 1, 30, 100)
    together = round_weights(weights, moments, scale, LOWEST, HIGHEST)
    np.testing.assert_array_equal(together[:, 2:3], round_weights(weights[:, 2:3], moments, scale[:, 2:3], -127, 127))
    np.testing.assert_array_equal(together, round_weights(weights, moments * 2.0**40, scale, LOWEST, HIGHEST))
    np.testing.assert_array_equal(together, round_weights(weights, moments * 2.0**-40, scale, LOWEST, HIGHEST))


@pytest.mark.parametrize("what", ["nothing seen", "one channel is always zero", "all channels are the same"])
def test_moments_without_an_inverse(what: str) -> None:
    rng = np.random.default_rng(5)
    weights, scale = layer(rng, 1, 4, 12)
    moments = moments_of(rng, 1, 12, 40)
    match what:
        case "nothing seen":
            moments[:] = 0
        case "one channel is always zero":
            moments[:, 3] = moments[:, :, 3] = 0
        case _:
            moments[:] = 1
    levels = round_weights(weights, moments, scale, LOWEST, HIGHEST)
    plain = nearest(weights, scale)
    assert np.isfinite(levels).all()
    match what:
        case "nothing seen":
            np.testing.assert_array_equal(levels, plain)
        case "one channel is always zero":
            np.testing.assert_array_equal(levels[:, :, 3], plain[:, :, 3])
        case _:  # only the sum of a row matters: it comes within half a step of the true one
            assert (np.abs((weights - levels * scale[:, :, None]).sum(axis=2)) <= 0.5 * scale * (1 + 1e-9)).all()
            assert (np.abs((weights - plain * scale[:, :, None]).sum(axis=2)) > 0.5 * scale).any()


def test_levels_end_where_the_format_ends() -> None:
    """Weights beyond the last level, and errors of others that would push them there."""
    rng = np.random.default_rng(6)
    weights, _ = layer(rng, 1, 8, 40)
    scale = np.abs(weights).max(axis=2) / 20
    levels = round_weights(weights, moments_of(rng, 1, 40, 100), scale, -5, 9)
    assert (levels.min(), levels.max()) == (-5, 9)


@pytest.mark.parametrize(
    ("moments", "scale"),
    [((1, 5, 5), (1, 3)), ((2, 4, 4), (1, 3)), ((1, 4, 5), (1, 3)), ((4, 4), (1, 3)), ((1, 4, 4), (1, 4))],
)
def test_shapes_that_do_not_fit_are_refused(moments: tuple[int, ...], scale: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        round_weights(np.ones((1, 3, 4)), np.ones(moments), np.ones(scale), LOWEST, HIGHEST)


@pytest.mark.parametrize("mean", [1e2, 1e4])
def test_moments_that_are_noise_still_give_levels_close_by(mean: float) -> None:
    """About a mean a million times the deviation, in single precision: H is below zero along some axis."""
    rng = np.random.default_rng(0)
    x = (mean * (1 + 1e-6 * rng.normal(size=(1, 32, 256)))).astype(np.float32)
    means = x.mean(axis=2, dtype=np.float64)
    h = (x @ x.transpose(0, 2, 1)).astype(np.float64) / 256 - means[:, :, None] * means[:, None, :]
    assert np.linalg.eigvalsh(h).min() < 0
    w = rng.normal(size=(1, 8, 32))
    scale = np.abs(w).max(axis=2) / 127
    levels = round_weights(w, h, scale, -127, 127)
    assert np.abs(levels - w / scale[:, :, None]).max() < 2


def test_moments_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        round_weights(np.ones((1, 2, 2)), np.full((1, 2, 2), np.inf), np.ones((1, 2)), -127, 127)
