"""Weights that lie on a grid keep it; others are never taken for such."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.numerics import grid_steps

MOST = 127


def on_grid(rng: np.random.Generator, channels: int, size: int, step: np.ndarray, reach: int) -> np.ndarray:
    """As a file holds them: integers times float32 steps. Each channel's largest integer is ``reach``."""
    integers = rng.integers(-reach, reach + 1, (channels, size))
    integers[:, 0] = reach
    return (integers * step.astype(np.float32)).astype(np.float32)


@pytest.mark.parametrize("reach", [17, 60, 126, 127])
@pytest.mark.parametrize("size", [64, 500])
def test_the_step_of_every_channel_is_found(reach: int, size: int) -> None:
    rng = np.random.default_rng(reach)
    step = 10.0 ** rng.uniform(-6, 2, 40)
    rows = on_grid(rng, 40, size, step[:, None], reach)
    found = grid_steps(rows, 0, MOST)
    assert reach == MOST or np.all(found > 0)
    found = np.where(found > 0, found, np.abs(rows).max(axis=1) / MOST)
    np.testing.assert_allclose(found, step, rtol=1e-6)
    np.testing.assert_allclose(np.rint(rows / found[:, None]) * found[:, None], rows, rtol=1e-6)


@pytest.mark.parametrize("size", [9, 4])
def test_channels_of_few_weights_take_the_step_of_the_whole_tensor(size: int) -> None:
    """A depthwise kernel has nine weights a channel: their distances alone would seldom show a single step."""
    rng = np.random.default_rng(size)
    rows = on_grid(rng, 64, size, np.full((64, 1), 0.013), 90)
    found = grid_steps(rows, 0, MOST)
    np.testing.assert_allclose(found, 0.013, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 9, 64, 2000])
@pytest.mark.parametrize("draw", ["normal", "uniform", "laplace"])
def test_what_is_found_by_chance_costs_nothing(size: int, draw: str) -> None:
    """Of few weights some lie on a grid by chance: then it serves them better than the usual scale."""
    rows = getattr(np.random.default_rng(size), draw)(size=(500, size)).astype(np.float32)
    found, reach = grid_steps(rows, 0, MOST), np.abs(rows).max(axis=1)
    usual = reach.astype(np.float64) / MOST
    if size >= 9:
        assert not found.any()
    some = found > 0
    assert np.all(found[some] * (MOST + 0.5) >= reach[some]), "no weight is cut off"
    for row, step, other in zip(rows[some], found[some], usual[some], strict=True):
        assert error(row, step) <= 0.01 * error(row, other)


def error(row: np.ndarray, step: float) -> float:
    return float(((np.clip(np.rint(row / step), -MOST, MOST) * step - row) ** 2).sum())


def test_a_grid_of_more_steps_than_integers_is_none() -> None:
    rng = np.random.default_rng(0)
    rows = on_grid(rng, 8, 300, np.full((8, 1), 0.5), 200)
    assert not grid_steps(rows, 0, MOST).any()
    found = grid_steps(on_grid(rng, 8, 300, np.full((8, 1), 0.5), 100), 0, MOST)
    np.testing.assert_allclose(found, 0.5)
    assert not grid_steps(on_grid(rng, 8, 300, np.full((8, 1), 0.5), 100), 0, 63).any()


def test_a_grid_shared_by_some_channels_only() -> None:
    rng = np.random.default_rng(3)
    rows = np.concatenate([on_grid(rng, 4, 80, np.full((4, 1), 0.25), 70), rng.normal(size=(4, 80))]).astype(np.float32)
    assert [bool(step) for step in grid_steps(rows, 0, MOST)] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("rows", [np.zeros((3, 5)), np.zeros((0, 5)), np.zeros((3, 0)), np.full((2, 4), 1e-40)])
def test_channels_without_weights_have_none(rows: np.ndarray) -> None:
    assert grid_steps(rows.astype(np.float32), 0, MOST).shape == (len(rows),)
    assert not grid_steps(np.zeros((3, 5), np.float32), 0, MOST).any()


def test_equal_weights_are_one_step() -> None:
    """One bit is enough, and exact: whichever step is taken must give them back."""
    rows = np.full((2, 6), 0.3, np.float32) * np.array([[1], [-1]], np.float32)
    found = grid_steps(rows, 0, MOST)
    steps = np.where(found > 0, found, 0.3 / MOST)
    np.testing.assert_allclose(np.rint(rows / steps[:, None]) * steps[:, None], rows, rtol=1e-6)


@pytest.mark.parametrize(("shape", "axis"), [((4, 6, 3, 3), 0), ((6, 4, 2, 2), 1), ((40, 4), 1), ((2, 9, 4), 2)])
def test_channels_lie_along_any_axis_and_large_layers_are_read_in_blocks(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], axis: int
) -> None:
    rng = np.random.default_rng(7)
    step = np.array([0.5, 0.01, 3.0, 0.25])
    scale = step.reshape([4 if i == axis else 1 for i in range(len(shape))]).astype(np.float32)
    weights = (rng.integers(-70, 71, shape) * scale).astype(np.float32)
    whole = grid_steps(weights, axis, MOST)
    some = whole > 0
    assert some.any()
    np.testing.assert_allclose(np.rint(step[some] / whole[some]) * whole[some], step[some], rtol=1e-5)
    monkeypatch.setattr("fewbits.numerics.weight_grid._BLOCK", 50)
    np.testing.assert_array_equal(grid_steps(weights, axis, MOST), whole)
