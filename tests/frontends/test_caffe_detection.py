"""PriorBox and DetectionOutput against OpenCV, row by row, and against Caffe's loops where OpenCV differs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from caffe_files import by_opencv, converted, found, unmatched, write_weights

from models import Array

PRIORS = 4  # a place: min_size, max_size, and two of the aspect ratio
PLACES = 5 * 6
CLASSES = 4


def detector(tmp_path: Path, fields: str, *, each_class: bool = False, prior: str = "") -> Path:
    """A head as SSD has it, its offsets and scores as inputs."""
    offsets = PLACES * PRIORS * 4 * (CLASSES if each_class else 1)
    text = f"""
    layer {{ name: "image" type: "Input" top: "image" input_param {{ shape {{ dim: 1 dim: 3 dim: 60 dim: 80 }} }} }}
    layer {{ name: "map" type: "Input" top: "map" input_param {{ shape {{ dim: 1 dim: 2 dim: 5 dim: 6 }} }} }}
    layer {{ name: "loc" type: "Input" top: "loc" input_param {{ shape {{ dim: 1 dim: {offsets} }} }} }}
    layer {{ name: "conf" type: "Input" top: "conf"
             input_param {{ shape {{ dim: 1 dim: {PLACES * PRIORS * CLASSES} }} }} }}
    layer {{ name: "priors" type: "PriorBox" bottom: "map" bottom: "image" top: "priors"
             prior_box_param {{ min_size: 20 max_size: 35 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2
                                variance: 0.2 {prior} }} }}
    layer {{ name: "det" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "det"
             detection_output_param {{ num_classes: {CLASSES} {fields} }} }}"""
    path = tmp_path / "ssd.prototxt"
    path.write_text(text)
    write_weights(tmp_path / "ssd.caffemodel", {"none": [np.zeros(1, np.float32)]})
    return path


def drawn(each_class: bool = False) -> dict[str, Array]:
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 2, (PLACES * PRIORS, CLASSES))
    scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    offsets = rng.normal(0, 1, (1, PLACES * PRIORS * 4 * (CLASSES if each_class else 1)))
    return {
        "image": np.zeros((1, 3, 60, 80), np.float32),
        "map": np.zeros((1, 2, 5, 6), np.float32),
        "loc": offsets.astype(np.float32),
        "conf": scores.reshape(1, -1).astype(np.float32),
    }


SUPPRESSION = "nms_param {{ nms_threshold: {0} top_k: {1} }} keep_top_k: {2} confidence_threshold: {3} "


@pytest.mark.parametrize(
    ("fields", "each_class", "prior"),
    [
        (SUPPRESSION.format(0.45, 100, 50, 0.1) + "code_type: CENTER_SIZE", False, ""),
        (SUPPRESSION.format(0.3, 20, 200, 0.3) + "code_type: CENTER_SIZE", False, "clip: true"),
        (SUPPRESSION.format(0.6, 15, 10, 0.01) + "code_type: CENTER_SIZE background_label_id: 2", False, "flip: false"),
        (SUPPRESSION.format(0.45, 400, 60, 0.2) + "code_type: CORNER", False, "step: 13 offset: 0.3"),
        (SUPPRESSION.format(0.45, 30, 60, 0.2) + "code_type: CENTER_SIZE share_location: false", True, ""),
        (SUPPRESSION.format(0.45, 400, 60, 0.2) + "code_type: CENTER_SIZE share_location: false", True, ""),
    ],
)
def test_detections_are_those_of_opencv(fields: str, each_class: bool, prior: str, tmp_path: Path) -> None:
    if "flip: false" in prior:
        prior += " aspect_ratio: 3"  # four boxes a place again
    for field, default in (("share_location", "true"), ("background_label_id", "0")):  # OpenCV has no defaults
        if field not in fields:
            fields += f" {field}: {default}"
    if "clip" not in prior:
        prior += " clip: false"
    path, inputs = detector(tmp_path, fields, each_class=each_class, prior=prior), drawn(each_class)
    ours = converted(path, None, inputs)["det"]
    theirs = by_opencv(path, None, inputs, ["det"])["det"]
    assert ours.shape[:2] == (1, 1)
    assert len(found(ours)) == len(found(theirs))
    assert unmatched(ours, theirs, 1e-4) == 0
    assert len(found(ours)) >= 10


def test_rows_stand_in_the_order_of_caffe(tmp_path: Path) -> None:
    path = detector(tmp_path, SUPPRESSION.format(0.45, 30, 20, 0.1) + "code_type: CENTER_SIZE")
    rows = converted(path, None, drawn())["det"][0, 0]
    assert rows.shape == (20, 7)
    assert set(rows[:, 0]) == {0}
    assert set(rows[:, 1]) <= {1, 2, 3}
    for before, after in itertools.pairwise(rows):
        assert (before[1], -before[2]) <= (after[1], -after[2])


def test_no_detection_is_no_row(tmp_path: Path) -> None:
    path = detector(tmp_path, SUPPRESSION.format(0.45, 30, 20, 1.0) + "code_type: CENTER_SIZE")
    assert converted(path, None, drawn())["det"].shape == (1, 1, 0, 7)


@pytest.mark.parametrize("code", ["code_type: CORNER_SIZE", "code_type: CENTER_SIZE variance_encoded_in_target: true"])
def test_boxes_are_decoded_by_their_equation(code: str, tmp_path: Path) -> None:
    fields = "nms_param { nms_threshold: 1 } confidence_threshold: 0.2 " + code
    inputs = drawn()
    rows = converted(detector(tmp_path, fields), None, inputs)["det"][0, 0]
    priors, offsets = boxes(), inputs["loc"].reshape(-1, 4)
    size = priors[:, 2:] - priors[:, :2]
    center = offsets[:, :2] * size + (priors[:, :2] + priors[:, 2:]) / 2
    half = np.exp(offsets[:, 2:]) * size / 2
    decoded = {
        "CORNER_SIZE": priors + np.array([0.1, 0.1, 0.2, 0.2]) * offsets * np.tile(size, 2),
        "CENTER_SIZE": np.concatenate([center - half, center + half], 1),
    }[code.split()[1]]
    scores = inputs["conf"].reshape(-1, CLASSES)
    expected = [
        (0, label, scores[box, label], *decoded[box])
        for label in range(1, CLASSES)
        for box in np.argsort(-scores[:, label], kind="stable")
        if scores[box, label] > 0.2
    ]
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


def boxes() -> Array:
    """The priors of ``detector`` by the loops of prior_box_layer.cpp."""
    sizes = [(20, 20), ((20 * 35) ** 0.5,) * 2, (20 * 2**0.5, 20 / 2**0.5), (20 / 2**0.5, 20 * 2**0.5)]
    made = []
    for i, j in itertools.product(range(5), range(6)):
        x, y = (j + 0.5) * 80 / 6, (i + 0.5) * 60 / 5
        made += [((x - w / 2) / 80, (y - h / 2) / 60, (x + w / 2) / 80, (y + h / 2) / 60) for w, h in sizes]
    return np.array(made)
