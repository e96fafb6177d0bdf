"""top1, top5, agreement and cosine against cases worked out by hand."""

import numpy as np
import pytest

from fewbits.errors import DataError
from fewbits.measurement.metrics import Agreement, Cosine, Top, classes
from fewbits.measurement.metrics.outputs import class_map, class_scores


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1000), 1000),
        ((None, 1000), 1000),
        ((1, 1000, 1, 1), 1000),
        ((1, 1, 1, 1000), 1000),
        ((10,), 10),
        ((1, 21, 64, 64), None),
        ((1, 1), None),
        ((8, 10), None),
        ((1, None), None),
        ((), None),
        ((1, 0), None),
    ],
)
def test_classes_reads_shapes(shape: tuple[int | None, ...], expected: int | None) -> None:
    assert classes(shape) == expected


def one(*scores: float) -> dict[str, np.ndarray]:
    return {"prob": np.array([scores], dtype=np.float32)}


def test_top1_is_right_only_for_the_highest_score() -> None:
    outputs = one(0.1, 0.7, 0.2)
    assert [Top(1).observe(outputs, label, None) for label in range(3)] == [0, 1, 0]


def test_top5_takes_exactly_five() -> None:
    outputs = one(9, 8, 7, 6, 5, 4, 3)
    assert [Top(5).observe(outputs, label, None) for label in range(7)] == [1, 1, 1, 1, 1, 0, 0]


def test_ties_go_to_the_lower_index() -> None:
    assert [Top(1).observe(one(1, 3, 3), label, None) for label in range(3)] == [0, 1, 0]
    zeros = one(*[0.0] * 7)
    assert [Top(5).observe(zeros, label, None) for label in range(7)] == [1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("bad", [(np.nan, 0.0, 1.0), (0.0, 1.0, np.nan), (np.nan,) * 3])
def test_nan_is_wrong_for_every_label(bad: tuple[float, ...]) -> None:
    assert [Top(1).observe(one(*bad), label, None) for label in range(3)] == [0, 0, 0]


def test_infinity_still_decides() -> None:
    assert Top(1).observe(one(-np.inf, np.inf, 0), 1, None) == 1


def test_top1_reads_a_pooled_output_and_a_numpy_label() -> None:
    outputs = {"pool": np.array([0.0, 5.0, 1.0], np.float16).reshape(1, 3, 1, 1)}
    assert Top(1).observe(outputs, np.array([1]), None) == 1
    assert Top(1).observe(outputs, np.int32(0), None) == 0


def test_class_scores_prefers_the_first_output_then_the_only_one() -> None:
    first = {"a": np.array([[1.0, 0.0]]), "b": np.array([[0.0, 1.0]])}
    assert class_scores(first) is not None
    np.testing.assert_array_equal(class_scores(first), [1.0, 0.0])
    only = {"map": np.zeros((1, 4, 3, 3)), "b": np.array([[0.0, 1.0]])}
    np.testing.assert_array_equal(class_scores(only), [0.0, 1.0])
    assert class_scores({"map": np.zeros((1, 4, 3, 3)), **first}) is None


@pytest.mark.parametrize("label", [3, -1, None, 1.5, "cat", [1, 2]])
def test_a_label_that_is_none_is_said_so(label: object) -> None:
    with pytest.raises(DataError, match="label"):
        Top(1).observe(one(0, 1, 2), label, None)


def test_outputs_without_classes_are_said_so() -> None:
    with pytest.raises(DataError, match=r"boxes \[1, 5, 4\]"):
        Top(1).observe({"boxes": np.zeros((1, 5, 4))}, 0, None)
    with pytest.raises(DataError, match="always right"):
        Top(5).observe(one(1, 2, 3), 0, None)


def test_score_is_the_mean_of_the_samples() -> None:
    assert Top(1).score([1, 0, 0, 1, 1]) == 0.6
    np.testing.assert_array_equal(Top(1).per_sample([1, 0]), [1.0, 0.0])
    with pytest.raises(DataError, match="no sample"):
        Top(1).score([])


def test_agreement_compares_decisions_not_values() -> None:
    agreement = Agreement()
    assert agreement.observe(one(0.1, 0.9), None, one(0.4, 0.6)) == 1
    assert agreement.observe(one(0.6, 0.4), None, one(0.4, 0.6)) == 0


def test_nan_agrees_with_nothing() -> None:
    broken, good = one(np.nan, 1), one(1, 0)
    assert Agreement().observe(broken, None, good) == 0
    assert Agreement().observe(broken, None, broken) == 0


def test_agreement_of_maps_is_the_share_of_pixels() -> None:
    reference = np.zeros((1, 2, 2, 2), np.float32)
    reference[0, 1] = [[1, 1], [-1, -1]]  # classes [[1, 1], [0, 0]]
    candidate = reference.copy()
    candidate[0, 1, 0, 0] = -1
    assert Agreement().observe({"y": candidate}, None, {"y": reference}) == 0.75
    candidate[0, 0, 1, 1] = np.nan
    assert Agreement().observe({"y": candidate}, None, {"y": reference}) == 0.5
    assert Agreement().observe({"y": candidate}, None, {"y": candidate}) == 0.75


def test_agreement_sends_other_outputs_to_cosine() -> None:
    regression = {"y": np.zeros((1, 7, 4), np.float32)}
    with pytest.raises(DataError, match="cosine"):
        Agreement().observe(regression, None, regression)
    heads = {"p3": np.zeros((1, 8, 4, 4)), "p4": np.zeros((1, 8, 2, 2))}
    with pytest.raises(DataError, match="cosine"):
        Agreement().observe(heads, None, heads)
    with pytest.raises(DataError, match="cosine"):
        Agreement().observe(one(1, 2), None, one(1, 2, 3))


def test_class_map_takes_integer_maps_as_they_are() -> None:
    found = class_map({"y": np.array([[[3, 0], [1, 1]]], np.int32)})
    assert found is not None
    np.testing.assert_array_equal(found[0], [[3, 0], [1, 1]])
    assert found[1] is None
    assert class_map({"y": np.zeros((1, 1, 4, 4), np.float32)}) is None


def test_cosine_of_a_known_angle_over_all_outputs() -> None:
    # (2, 0 | 1) against (1, 0 | 0) once both outputs are joined in the same order.
    here = {"b": np.array([[1.0]]), "a": np.array([[2.0, 0.0]])}
    there = {"a": np.array([[1.0, 0.0]]), "b": np.array([[0.0]])}
    assert Cosine().observe(here, None, there) == pytest.approx(2 / np.sqrt(5), abs=1e-15)


def test_cosine_at_its_edges() -> None:
    cosine = Cosine()
    zeros = one(0, 0)
    assert cosine.observe(one(0.3, -7), None, one(0.3, -7)) == 1.0
    assert cosine.observe(zeros, None, zeros) == 1.0
    assert cosine.observe(zeros, None, one(1, 0)) == 0.0
    assert cosine.observe(one(-1, 0), None, one(1, 0)) == 0.0
    assert cosine.observe(one(np.nan, 0), None, one(1, 0)) == 0.0
    assert cosine.observe(one(np.inf, 0), None, one(1, 0)) == 0.0
    huge = {"y": np.array([[1e200, 1e200]])}
    assert cosine.observe(huge, None, {"y": np.array([[1e-200, 0.0]])}) == pytest.approx(np.sqrt(0.5))


def test_cosine_wants_the_same_outputs() -> None:
    with pytest.raises(DataError, match="same outputs"):
        Cosine().observe(one(1, 2), None, one(1, 2, 3))
    with pytest.raises(DataError, match="same outputs"):
        Cosine().observe(one(1, 2), None, {"other": np.ones((1, 2))})
    with pytest.raises(DataError, match="FP32"):
        Cosine().observe(one(1, 2), None, None)
