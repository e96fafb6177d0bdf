"""A session that computes something else than the model says is found, in whatever slot and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from fakes import FakeSession

from fewbits.engines import ENGINES, Arrays, Options
from fewbits.errors import EngineError
from fewbits.measurement.oracle import check_against_oracle
from models import conv_relu_conv, network, oracle, samples

MODEL = conv_relu_conv()


def honest(inputs: Mapping[str, Any]) -> Arrays:
    return oracle(MODEL, dict(inputs))


@pytest.mark.parametrize("slots", [2, 8])
@pytest.mark.parametrize(
    ("wrong", "faulty"),
    [
        (lambda y: y, False),
        (lambda y: y * np.float32(1 + 1e-6), False),
        (lambda y: y * 2, True),
        (lambda y: np.roll(y, 1, axis=1), True),
        (lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.nan, y), True),
        (lambda y: np.zeros_like(y), True),
    ],
    ids=["right", "rounded", "doubled", "shifted", "one NaN", "nothing"],
)
def test_one_slot_that_is_wrong_is_found(wrong, faulty: bool, slots: int) -> None:
    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        y = honest(inputs)["y"]
        return {"y": wrong(y) if slot == 1 else y}

    sessions = {
        "suspect": FakeSession(work, slots),
        "good": FakeSession(lambda inputs, _: honest(inputs), slots),
    }
    check = check_against_oracle(MODEL, sessions, samples(MODEL, 2))
    assert set(check.faulty()) == ({"suspect"} if faulty else set())
    assert check.samples == 2
    assert {slot for slot, _ in sessions["suspect"].log} == set(range(slots))
    if faulty:
        assert "against the ONNX reference evaluator on 2 samples" in check.faulty()["suspect"]


def test_answers_of_an_earlier_run_are_found_although_they_are_of_this_model() -> None:
    first: list[Arrays] = []

    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        first.append(honest(inputs))
        return first[0]

    assert check_against_oracle(MODEL, {"stale": FakeSession(work)}, samples(MODEL, 2)).faulty().keys() == {"stale"}


def test_engines_that_reuse_their_memory_are_not_blamed_for_it() -> None:
    buffer = np.empty((1, 5, 6, 6), np.float32)

    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        buffer[:] = honest(inputs)["y"]
        return {"y": buffer}

    assert not check_against_oracle(MODEL, {"thrifty": FakeSession(work)}, samples(MODEL, 3)).faulty()


def test_a_small_output_that_is_wrong_is_found_beside_a_large_one() -> None:
    """Boxes in pixels and scores below one: all scores may be wrong without a mark on the sum of both."""
    model = network(
        "g (float[1,8] x) => (float[1,8] boxes, float[1,8] scores) { boxes = Mul(x, k)  scores = Sigmoid(x) }",
        k=np.array([640], np.float32),
    )

    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        right = oracle(model, dict(inputs))
        return right | {"scores": 1 - right["scores"]}

    assert check_against_oracle(model, {"suspect": FakeSession(work)}, samples(model, 2)).faulty().keys() == {"suspect"}


@pytest.mark.parametrize("what", ["another shape", "missing"])
def test_an_output_that_does_not_fit_is_named_not_a_traceback(what: str) -> None:
    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        return {"y": honest(inputs)["y"][0]} if what == "another shape" else {"z": honest(inputs)["y"]}

    try:
        found = check_against_oracle(MODEL, {"suspect": FakeSession(work)}, samples(MODEL, 1)).faulty()
    except EngineError as error:
        assert "y" in str(error)
    else:
        assert found.keys() == {"suspect"}


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_the_engines_here_pass(mode) -> None:
    sessions = {name: engine.compile(MODEL, Options(mode=mode)) for name, engine in ENGINES.items()}
    check = check_against_oracle(MODEL, sessions, samples(MODEL, 2))
    assert not check.faulty()
    assert min(check.sqnr_db.values()) > 80
