"""Other readings of the data: each is one that options can say, and fits the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fewbits.data import Preprocess
from fewbits.data.slips import Reading, other_steps
from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

CAFFE = Preprocess(resize=256, crop=227, channels="bgr", mean=(104, 117, 123))
PYTORCH = Preprocess(
    resize=224, crop=224, channels="rgb", mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375)
)
GRAY = Preprocess(resize=(28, 28), fit="stretch", channels="gray", scale=(255,))


def spec(channels: int, size: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", (None, channels, size, size), np.dtype(dtype))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(CAFFE, spec(3, 227)), (PYTORCH, spec(3, 224)), (GRAY, spec(1, 28)), (Preprocess(crop=32), spec(3, 32))],
)
def test_options_say_each_of_them(given: Preprocess, wanted: TensorSpec) -> None:
    others = other_steps(given, wanted)
    assert len(others) == len(set(others)) >= 5
    for steps in others:
        assert steps != given
        steps.check(wanted)
        changes: Any = Reading(steps, 0).changes(Reading(given, 0))
        options = {option.removeprefix("--"): value for option, value in changes.items()}
        assert Preprocess.from_options(base=given, **options) == steps


@pytest.mark.parametrize(
    ("given", "meant", "changes"),
    [
        (CAFFE, {"channels": "rgb"}, {"--channels": "rgb"}),
        (CAFFE, {"mean": (123, 117, 104)}, {"--mean": "123,117,104"}),
        (
            Preprocess(resize=256, crop=227),
            {"channels": "bgr", "mean": (104, 117, 123)},
            {"--channels": "bgr", "--mean": "104,117,123"},
        ),
        (CAFFE, {"resize": 227}, {"--resize": "227", "--crop": "227"}),
        (Preprocess(resize=227, crop=227), {"resize": 259}, {"--resize": "259", "--crop": "227"}),
        (
            Preprocess(resize=227, crop=227, mean=(0.485, 0.456, 0.406), scale=(0.229, 0.224, 0.225)),
            {"mean": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375)},
            {"--mean": "123.675,116.28,103.53", "--scale": "58.395,57.12,57.375"},
        ),
        (CAFFE, {"scale": (255,)}, {"--scale": "255"}),
    ],
)
def test_the_usual_slips_are_among_them(given: Preprocess, meant: dict[str, Any], changes: dict[str, str]) -> None:
    steps = replace(given, **meant)
    assert steps in other_steps(given, spec(3, 227))
    assert Reading(steps, 0).changes(Reading(given, 0)) == changes


def test_the_label_offset_is_a_change() -> None:
    assert Reading(None, 1).changes(Reading(None, 0)) == {"--label-offset": "1"}
    assert Reading(CAFFE, 2).changes(Reading(CAFFE, 2)) == {}


def test_an_input_of_bytes_leaves_the_colours_alone() -> None:
    given = Preprocess(resize=227, crop=227)
    with pytest.raises(DataError):
        CAFFE.check(TensorSpec("x", (1, 3, 227, 227), np.dtype("uint8")))
    others = other_steps(given, spec(3, 227, "uint8"))
    assert {steps.channels for steps in others} == {"rgb", "bgr"}
    assert {(steps.mean, steps.scale) for steps in others} == {((0.0,), (1.0,))}


def test_the_axes_change_only_where_both_orders_fit() -> None:
    layouts = [{steps.layout for steps in other_steps(Preprocess(), spec(3, size))} for size in (227, 3)]
    assert layouts == [{"nchw"}, {"nchw", "nhwc"}]
