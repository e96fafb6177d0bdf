"""map: hand-computed cases, and pycocotools from end to end on seeded random detections."""

import contextlib
import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fewbits.data.sample import Box, CocoTarget
from fewbits.errors import DataError
from fewbits.measurement.metrics import AveragePrecision
from fewbits.measurement.metrics.detections import detections
from fewbits.measurement.metrics.targets import truth


@dataclass(frozen=True)
class Target:
    boxes: np.ndarray
    categories: np.ndarray
    image_id: int = 7
    width: int = 200
    height: int = 100


@dataclass(frozen=True)
class CrowdTarget(Target):
    crowd: np.ndarray = None  # type: ignore[assignment]


def target(*boxes: tuple[float, ...], categories: list[int] | None = None) -> Target:
    return Target(np.array(boxes, float).reshape(-1, 4), np.array(categories or [1] * len(boxes), int))


def rows(*found: tuple[float, ...]) -> dict[str, np.ndarray]:
    """DetectionOutput of (class, score, x, y, w, h in pixels of 200 x 100) and the closing row."""
    table = np.array(found, np.float32).reshape(-1, 6)
    out = np.zeros((len(table) + 1, 7), np.float32)
    out[:-1, 1:3] = table[:, :2]
    out[:-1, 3:5] = table[:, 2:4] / (200, 100)
    out[:-1, 5:7] = (table[:, 2:4] + table[:, 4:6]) / (200, 100)
    out[-1, 0] = -1
    return {"detection_out": out[None, None]}


MAP, MAP50 = AveragePrecision("map"), AveragePrecision("map50", ious=(0.5,))


def scored(metric: AveragePrecision, *pairs: tuple[dict[str, np.ndarray], Target]) -> float:
    return metric.score([metric.observe(outputs, wanted, None) for outputs, wanted in pairs])


def test_perfect_detections_are_one() -> None:
    boxes = target((10, 10, 50, 40), (100, 20, 60, 60), categories=[1, 3])
    found = rows((1, 0.9, 10, 10, 50, 40), (3, 0.2, 100, 20, 60, 60))
    assert scored(MAP, (found, boxes)) == 1.0
    assert scored(MAP50, (found, boxes)) == 1.0


def test_a_shift_by_half_overlaps_by_a_third_and_counts_for_nothing() -> None:
    assert scored(MAP50, (rows((1, 0.9, 30, 10, 40, 40)), target((10, 10, 40, 40)))) == 0.0


def test_iou_082_passes_seven_of_ten_thresholds() -> None:
    found, wanted = rows((1, 0.9, 0, 0, 82, 100)), target((0, 0, 100, 100))
    assert scored(MAP, (found, wanted)) == pytest.approx(0.7, abs=1e-12)
    assert scored(MAP50, (found, wanted)) == 1.0


def test_a_false_positive_above_halves_the_precision() -> None:
    found = rows((1, 0.9, 100, 50, 20, 20), (1, 0.5, 10, 10, 40, 40))
    assert scored(MAP50, (found, target((10, 10, 40, 40)))) == pytest.approx(0.5, abs=1e-12)
    below = rows((1, 0.1, 100, 50, 20, 20), (1, 0.5, 10, 10, 40, 40))
    assert scored(MAP50, (below, target((10, 10, 40, 40)))) == 1.0


def test_half_recall_fills_51_of_101_points() -> None:
    wanted = target((10, 10, 40, 40), (100, 10, 40, 40))
    assert scored(MAP50, (rows((1, 0.9, 10, 10, 40, 40)), wanted)) == pytest.approx(51 / 101, abs=1e-12)


def test_the_mean_is_over_categories_that_have_a_box() -> None:
    wanted = target((10, 10, 40, 40), (100, 10, 40, 40), categories=[1, 2])
    found = rows((1, 0.9, 10, 10, 40, 40), (5, 0.9, 100, 10, 40, 40))
    assert scored(MAP50, (found, wanted)) == 0.5


def test_detections_are_ranked_over_the_whole_set() -> None:
    wanted = target((10, 10, 40, 40))
    sure_miss = (rows((1, 0.9, 150, 60, 20, 20)), target())
    hit = (rows((1, 0.5, 10, 10, 40, 40)), wanted)
    assert scored(MAP50, sure_miss, hit) == pytest.approx(0.5, abs=1e-12)


def test_no_detections_are_zero_and_no_boxes_are_an_error() -> None:
    assert scored(MAP, (rows(), target((10, 10, 40, 40)))) == 0.0
    with pytest.raises(DataError, match="no sample has a box"):
        scored(MAP, (rows((1, 0.9, 10, 10, 40, 40)), target()))
    with pytest.raises(DataError, match="no sample has a box"):
        MAP.score([])


def test_nan_finds_nothing_and_a_broken_box_is_a_false_positive() -> None:
    wanted = target((10, 10, 40, 40))
    everything = {"d": np.full((1, 1, 3, 7), np.nan, np.float32)}
    assert scored(MAP50, (everything, wanted)) == 0.0
    unscored = rows((1, np.nan, 10, 10, 40, 40))
    assert scored(MAP50, (unscored, wanted)) == 0.0
    broken = rows((1, 0.9, np.nan, 10, 40, 40), (1, 0.5, 10, 10, 40, 40))
    assert scored(MAP50, (broken, wanted)) == pytest.approx(0.5, abs=1e-12)


def test_rows_after_the_end_mark_are_not_read() -> None:
    found = rows((1, 0.9, 10, 10, 40, 40), (1, 0.95, 150, 60, 20, 20))
    found["detection_out"][0, 0, 1, 0] = -1
    found["detection_out"][0, 0, 2, 0] = 0
    assert len(detections(found)) == 1
    assert len(detections(rows((1, 0.9, 10, 10, 40, 40)))) == 1


def test_crowds_neither_help_nor_harm() -> None:
    crowd = CrowdTarget(
        np.array([(10, 10, 40, 40), (100, 0, 100, 100)], float),
        np.array([1, 1]),
        crowd=np.array([False, True]),
    )
    found = rows((1, 0.9, 120, 20, 30, 30), (1, 0.8, 10, 10, 40, 40))
    assert scored(MAP50, (found, crowd)) == 1.0


def test_categories_map_and_restrict() -> None:
    wanted = target((10, 10, 40, 40), (100, 10, 40, 40), categories=[18, 44])
    found = rows((1, 0.9, 10, 10, 40, 40), (2, 0.99, 150, 60, 20, 20))
    dogs = replace(MAP50, categories=((1, 18),))
    assert scored(dogs, (found, wanted)) == 1.0
    assert scored(MAP50, (found, wanted)) == 0.0


def separate(names: tuple[str, str, str], scale: float = 1.0) -> dict[str, np.ndarray]:
    boxes, scores, labels = names
    return {
        boxes: np.array([[[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.6, 0.9]]], np.float32) * scale,
        scores: np.array([[0.9, 0.8]], np.float32),
        labels: np.array([[1.0, 3.0]], np.float32),
        "num_detections": np.array([2.0], np.float32),
    }


def test_boxes_scores_and_labels_by_name_and_by_type() -> None:
    expected = [[1, 0.9, 0.1, 0.2, 0.3, 0.6], [3, 0.8, 0.5, 0.5, 0.6, 0.9]]
    named = separate(("boxes", "scores", "labels"))
    np.testing.assert_allclose(detections(named), expected, atol=1e-6)
    typed = {"a": named["boxes"][0], "b": named["labels"][0].astype(np.int64), "c": named["scores"][0]}
    np.testing.assert_allclose(detections(typed), expected, atol=1e-6)
    yxyx = separate(("detection_boxes", "detection_scores", "detection_classes"))
    np.testing.assert_allclose(detections(yxyx)[0, 2:], [0.2, 0.1, 0.6, 0.3], atol=1e-6)


def test_pixels_need_the_input_size() -> None:
    pixels = separate(("boxes", "scores", "labels"), scale=320)
    with pytest.raises(DataError, match="not relative"):
        detections(pixels)
    np.testing.assert_allclose(detections(pixels, (320, 640))[0, 2:], [0.1, 0.1, 0.3, 0.3], atol=1e-6)


def test_an_empty_and_a_single_box() -> None:
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int64)}
    assert detections(empty).shape == (0, 6)
    single = {"boxes": np.zeros((1, 4)), "scores": np.ones(1), "labels": np.array([5])}
    assert detections(single).tolist() == [[5, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "raw",
    [
        {"output": np.zeros((1, 3549, 85))},
        {"p3": np.zeros((1, 255, 13, 13)), "p4": np.zeros((1, 255, 26, 26))},
        {"boxes": np.zeros((1, 50, 4)), "scores": np.zeros((1, 50, 21))},
    ],
)
def test_raw_heads_are_refused_with_the_way_out(raw: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match="module:function"):
        MAP.observe(raw, target((0, 0, 1, 1)), None)


def test_a_target_without_boxes_is_refused() -> None:
    with pytest.raises(DataError, match="boxes"):
        MAP.observe(rows(), 3, None)


def test_the_data_rooms_record_and_arrays_read_the_same() -> None:
    record = CocoTarget(
        image_id=7,
        width=200,
        height=100,
        boxes=(Box(18, 10, 20, 30, 40, 1200), Box(1, 100, 0, 100, 90, 9000, crowd=True)),
    )
    read = truth(record)
    assert (read.width, read.height) == (200, 100)
    assert read.boxes.tolist() == [[10, 20, 30, 40], [100, 0, 100, 90]]
    assert read.categories.tolist() == [18, 1]
    assert read.crowd.tolist() == [False, True]
    assert scored(MAP, (rows((18, 0.9, 10, 20, 30, 40), (1, 0.99, 110, 0, 50, 50)), record)) == 1.0
    assert truth(CocoTarget(1, 5, 5, ())).boxes.shape == (0, 4)
    with pytest.raises(DataError, match="1 boxes and 2 categories"):
        truth(target((0, 0, 1, 1), categories=[1, 2]))


def test_it_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    scored(MAP, (rows((1, 0.9, 10, 10, 50, 40)), target((10, 10, 50, 40))))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_pycocotools_over_a_whole_set(seed: int) -> None:
    """The ruler is COCOeval fed with all images at once; only evidence is shared with it, no summing."""
    rng = np.random.default_rng(seed)
    images, found, truth, pairs = [], [], [], []
    for image in range(25):
        count = int(rng.integers(0, 7))
        boxes = np.column_stack([rng.uniform(0, 120, count), rng.uniform(0, 50, count), rng.uniform(8, 60, (count, 2))])
        categories = rng.integers(1, 5, count)
        copies = rng.integers(0, 4, count)
        drawn = np.repeat(boxes, copies, axis=0) + rng.normal(0, 3, (copies.sum(), 4))
        labels = np.where(rng.random(len(drawn)) < 0.9, np.repeat(categories, copies), 2)
        # What the metric will see: corners as float32 fractions, back in pixels.
        outputs = rows(*np.column_stack([labels, rng.random(len(drawn)), drawn]))
        seen = outputs["detection_out"][0, 0, :-1].astype(np.float64)
        corners = seen[:, 3:] * (200, 100, 200, 100)
        crowd = rng.random(count) < 0.15
        pairs.append((outputs, CrowdTarget(boxes, categories, crowd=crowd)))
        images.append({"id": image})
        for row, box in zip(seen, corners, strict=True):
            size = box[2:] - box[:2]
            found.append((image, int(row[1]), [*box[:2], *size], float(row[2]), 0))
        truth += [(image, int(c), b.tolist(), 0.0, int(w)) for c, b, w in zip(categories, boxes, crowd, strict=True)]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for records in (truth, found):
            side = COCO()
            side.dataset = {
                "images": images,
                "categories": [{"id": c} for c in range(1, 5)],
                "annotations": [
                    {
                        "id": i + 1,
                        "image_id": m,
                        "category_id": c,
                        "bbox": b,
                        "area": b[2] * b[3],
                        "score": s,
                        "iscrowd": w,
                    }
                    for i, (m, c, b, s, w) in enumerate(records)
                ],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.05 < evaluation.stats[0] < 0.95
    assert scored(MAP, *pairs) == pytest.approx(evaluation.stats[0], abs=1e-12)
    assert scored(MAP50, *pairs) == pytest.approx(evaluation.stats[1], abs=1e-12)
