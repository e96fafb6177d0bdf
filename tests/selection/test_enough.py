"""How little a small test set can prove is said before anything is measured."""

from __future__ import annotations

import re

import pytest

from fewbits.measurement.interval import bonett_price
from fewbits.measurement.metrics import Agreement, Cosine, Metric, Top
from fewbits.selection.enough import too_few
from fewbits.selection.records import Budget
from models import network

CLASSES = network("g (float[1,4] x) => (float[1,8] y) { y = MatMul(x, w) }", w=(4, 8))
MAP = network("g (float[1,4,2,2] x) => (float[1,4,2,2] y) { y = Relu(x) }")


@pytest.mark.parametrize(("max_drop", "confidence"), [(0.01, 0.95), (0.001, 0.95), (0.05, 0.8)])
def test_the_number_it_names_is_just_enough(max_drop: float, confidence: float) -> None:
    budget = Budget(max_drop=max_drop, confidence=confidence)
    said = too_few(CLASSES, Top(1), 10, budget)
    needed = int(re.search(r"(\d+) or more", said).group(1))  # type: ignore[union-attr]
    assert bonett_price(0, 0, needed, confidence)[1] <= max_drop < bonett_price(0, 0, needed - 1, confidence)[1]
    assert f"±{bonett_price(0, 0, 10, confidence)[1] * 100:.2f} points" in said
    assert too_few(CLASSES, Top(1), needed, budget) == ""
    assert too_few(CLASSES, Top(1), needed - 1, budget)


def test_no_loss_at_all_cannot_be_proven() -> None:
    assert "no number of samples" in too_few(CLASSES, Top(1), 10**6, Budget(max_drop=0.0))


@pytest.mark.parametrize(
    ("metric", "model", "says"), [(Agreement(), CLASSES, True), (Agreement(), MAP, False), (Cosine(), CLASSES, False)]
)
def test_it_speaks_only_where_samples_are_right_or_wrong(metric: Metric, model: object, says: bool) -> None:
    assert bool(too_few(model, metric, 10, Budget())) == says  # type: ignore[arg-type]
