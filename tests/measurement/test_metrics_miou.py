"""miou against masks small enough to count by hand."""

import numpy as np
import pytest

from fewbits.errors import DataError
from fewbits.measurement.metrics import MeanIoU


def scores(predicted: list[list[int]], count: int) -> dict[str, np.ndarray]:
    """One-hot scores [1, K, H, W] whose argmax is ``predicted``."""
    return {"y": np.eye(count, dtype=np.float32)[np.array(predicted)].transpose(2, 0, 1)[None]}


def test_counts_and_iou_by_hand() -> None:
    mask = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
    evidence = MeanIoU().observe(scores([[0, 1, 1], [1, 0, 1]], 3), mask, None)
    np.testing.assert_array_equal(evidence, [[1, 2, 0], [2, 3, 0], [2, 3, 0]])
    # class 0: 1/(2+2-1) = 1/3; class 1: 2/(3+3-2) = 1/2; class 2 is in no mask.
    assert MeanIoU().score([evidence]) == pytest.approx((1 / 3 + 1 / 2) / 2, abs=1e-15)


def test_pixels_are_pooled_over_the_set() -> None:
    miou = MeanIoU()
    large = miou.observe(scores([[0] * 8], 2), np.zeros((1, 8), np.int64), None)
    small = miou.observe(scores([[0, 1]], 2), np.array([[1, 0]]), None)
    # class 0: 8 right of 9 + 9 - 8; class 1: 0. The mean over images would be (1 + 0)/2.
    assert miou.score([large, small]) == pytest.approx(8 / 10 / 2, abs=1e-15)
    assert miou.per_sample([large, small]) is None


def test_a_class_that_is_only_predicted_adds_no_term() -> None:
    evidence = MeanIoU().observe(scores([[0, 0, 0, 2]], 3), np.zeros((1, 4), np.int64), None)
    assert MeanIoU().score([evidence]) == 0.75


def test_perfect_and_all_wrong() -> None:
    mask = np.array([[0, 1], [2, 1]])
    assert MeanIoU().score([MeanIoU().observe(scores(mask.tolist(), 3), mask, None)]) == 1.0
    wrong = (mask + 1) % 3
    assert MeanIoU().score([MeanIoU().observe(scores(wrong.tolist(), 3), mask, None)]) == 0.0


def test_nan_pixels_are_no_class_at_all() -> None:
    mask = np.zeros((2, 2), np.int64)
    outputs = scores([[0, 0], [0, 0]], 2)
    outputs["y"][0, 1, 0, 0] = np.nan
    evidence = MeanIoU().observe(outputs, mask, None)
    np.testing.assert_array_equal(evidence, [[3, 0], [4, 0], [3, 0]])
    assert MeanIoU().score([evidence]) == 0.75


def test_class_maps_of_different_heights_add_up() -> None:
    miou = MeanIoU()
    low = miou.observe({"y": np.array([[[0, 0]]])}, np.array([[0, 0]]), None)
    high = miou.observe({"y": np.array([[[4, 0]]])}, np.array([[4, 4]]), None)
    # class 0: 2 right of 2 + 3 - 2; class 4: 1 right of 2 + 1 - 1.
    assert miou.score([low, high]) == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-15)


def test_the_mask_must_fit() -> None:
    outputs = scores([[0, 1]], 2)
    with pytest.raises(DataError, match="class 7"):
        MeanIoU().observe(outputs, np.array([[0, 7]]), None)
    with pytest.raises(DataError, match="class -1"):
        MeanIoU().observe(outputs, np.array([[0, -1]]), None)
    with pytest.raises(DataError, match=r"mask is \[2, 1\]"):
        MeanIoU().observe(outputs, np.array([[0], [1]]), None)
    with pytest.raises(DataError, match="integer mask"):
        MeanIoU().observe(outputs, None, None)
    with pytest.raises(DataError, match="class scores"):
        MeanIoU().observe({"y": np.zeros((1, 10))}, np.array([[0, 1]]), None)


def test_all_ignored_is_nothing_to_score() -> None:
    evidence = MeanIoU().observe(scores([[0, 1]], 2), np.full((1, 2), 255, np.uint8), None)
    with pytest.raises(DataError, match="no mask"):
        MeanIoU().score([evidence])
    with pytest.raises(DataError, match="no mask"):
        MeanIoU().score([])
