"""Noise at the outputs: pooled over samples, and unit by unit where one output mixes units."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewbits.numerics import Yardstick, decibels

RNG = np.random.default_rng(0)


def at(truth: np.ndarray, db: float) -> np.ndarray:
    """The truth with noise of exactly that many dB."""
    noise = RNG.standard_normal(truth.shape)
    return truth + noise * np.sqrt((truth**2).sum() / (noise**2).sum()) * 10 ** (-db / 20)


def of_one(truth: np.ndarray, got: np.ndarray) -> float:
    return Yardstick([{"y": truth}]).worst_db([{"y": got}])


def test_samples_are_pooled_and_not_averaged_in_decibels() -> None:
    """Nine saturated softmax samples at 150 dB and one that is wrong: the mean of decibels would be 135."""
    truth = [np.eye(4)[[i % 4]] for i in range(10)]
    got = [*(t + 1e-8 for t in truth[:9]), np.eye(4)[[0]]]
    pooled = Yardstick([{"y": t} for t in truth]).worst_db([{"y": g} for g in got])
    assert pooled == pytest.approx(10 * math.log10(10 / 2), abs=1e-3)


@pytest.mark.parametrize("layout", ["rows", "columns", "one row"])
def test_scores_do_not_drown_in_boxes(layout: str) -> None:
    """Four coordinates in pixels and a score of a millionth that becomes 0.02 everywhere."""
    truth = np.concatenate([RNG.uniform(0, 640, (1, 50, 4)), np.full((1, 50, 1), 6e-7)], axis=2)
    got = np.concatenate([at(truth[..., :4], 40.0), np.full((1, 50, 1), 0.02)], axis=2)
    if layout == "columns":
        truth, got = truth.transpose(0, 2, 1), got.transpose(0, 2, 1)
    if layout == "one row":
        references, outputs = ([{"y": array[:, i]} for i in range(50)] for array in (truth, got))
        assert Yardstick(references).worst_db(outputs) < 5
        return
    assert of_one(truth, got) < 5
    found = Yardstick([{"y": truth}]).of_each_output([{"y": got}], "engine")
    assert [(o.name, o.engine) for o in found] == [("y", "engine")]
    assert "column 4" in found[0].unit
    assert of_one(truth, np.where(truth < 1e-3, truth, at(truth, 40.0))) > 35


def test_classes_that_no_sample_shows_do_not_count() -> None:
    """Scores of a millionth that become two millionths are no fault."""
    truth = np.concatenate([RNG.uniform(0.2, 1, (1, 30, 3)), np.full((1, 30, 5), 1e-6)], axis=2)
    got = truth.copy()
    got[..., 3:] = 2e-6
    assert of_one(truth, got) > 60


def test_a_softmax_of_one_row_is_one_unit() -> None:
    truth = np.array([[0.999, 1e-3 - 2e-7, 1e-7, 1e-7]])
    got = np.array([[0.999, 1e-3 - 4e-7, 2e-7, 2e-7]])
    references, outputs = [{"y": truth}] * 8, [{"y": got}] * 8
    assert len(Yardstick(references).units) == 1
    assert Yardstick(references).worst_db(outputs) > 60


def test_channels_of_one_unit_are_not_torn_apart() -> None:
    truth = RNG.standard_normal((1, 16, 6, 6)) * np.geomspace(0.1, 10, 16)[None, :, None, None]
    assert [unit.axis for unit in Yardstick([{"y": truth}]).units] == [None]


@pytest.mark.parametrize(
    ("truth", "got", "db"),
    [
        (np.ones((1, 3)), np.ones((1, 4)), -math.inf),
        (np.ones((1, 3)), np.array([[1, 1, np.nan]]), -math.inf),
        (np.array([[1, np.inf]]), np.array([[1, np.inf]]), math.inf),
        (np.array([[1.0, -np.inf]]), np.array([[1.0, 5.0]]), -math.inf),
        (np.array([3, 5, 7, 9]), np.array([3, 5, 7, 8]), 10 * math.log10(4)),
        (np.zeros((1, 3)), np.zeros((1, 3)), math.inf),
    ],
)
def test_shapes_and_numbers_that_are_none(truth: np.ndarray, got: np.ndarray, db: float) -> None:
    assert of_one(truth, got) == pytest.approx(db)


def test_a_doubled_scale_is_no_agreement() -> None:
    truth = RNG.standard_normal((1, 10))
    assert of_one(truth, 2 * truth) == pytest.approx(0.0, abs=1e-9)


def test_outputs_whose_shape_depends_on_the_sample_have_no_figure() -> None:
    yardstick = Yardstick([{"boxes": np.ones((2, 4)), "y": np.ones(3)}, {"boxes": np.ones((5, 4)), "y": np.ones(3)}])
    assert [unit.output for unit in yardstick.units] == ["y"]


def test_decibels_of_nothing_and_of_everything() -> None:
    assert (decibels(0.0), decibels(math.inf), decibels(0.01)) == (math.inf, -math.inf, 20.0)
