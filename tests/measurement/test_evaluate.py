"""Every sample goes to every session, and comes back with its own answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from fakes import FakeSession

from fewbits.data import Sample
from fewbits.errors import DataError, EngineError
from fewbits.measurement.evaluate import evaluate
from fewbits.measurement.metrics import Cosine, Top

CLASSES = 50


def samples(count: int) -> list[Sample]:
    """Sample i holds the number i and has the label i."""
    return [Sample(f"s{i}", {"x": np.array([[i]], np.float32)}, i) for i in range(count)]


def scores(number: int) -> np.ndarray:
    one_hot = np.zeros((1, CLASSES), np.float32)
    one_hot[0, number % CLASSES] = 1
    return one_hot


class Record:
    """A metric that keeps (own answer, label, reference's answer)."""

    name, needs_labels, needs_reference = "record", True, True

    def observe(self, outputs: Mapping[str, Any], target: object, reference: Mapping[str, Any]) -> tuple:
        return int(outputs["y"].argmax()), target, int(reference["y"].argmax())

    def score(self, evidence: object) -> float:
        return 0.0

    def per_sample(self, evidence: object) -> None:
        return None


def answering(shift: int = 0, slots: int = 1, *, reuse: bool = True) -> FakeSession:
    """Answers with class ``x + shift``; as engines do, each slot writes every answer into the same memory."""
    buffers = [np.empty((1, CLASSES), np.float32) for _ in range(slots)]

    def work(inputs: Mapping[str, Any], slot: int) -> dict:
        answer = scores(int(inputs["x"][0, 0]) + shift)
        if reuse:
            buffers[slot][:] = answer
            answer = buffers[slot]
        return {"y": answer}

    return FakeSession(work, slots)


@pytest.mark.parametrize("slots", [1, 3, 40])
@pytest.mark.parametrize("count", [1, 16, 37])
def test_answers_labels_and_references_are_of_the_same_sample(count: int, slots: int) -> None:
    reference, other = answering(0, slots), answering(5, slots)
    done: list[int] = []
    # The reference is named second in the mapping: it must be run first all the same.
    found = evaluate({"b": other, "a": reference}, "a", iter(samples(count)), Record(), progress=done.append)
    assert found["a"].evidence == [(i % CLASSES, i, i % CLASSES) for i in range(count)]
    assert found["b"].evidence == [((i + 5) % CLASSES, i, i % CLASSES) for i in range(count)]
    assert found["a"].agreement == [1] * count
    assert found["b"].agreement == [0] * count
    assert (found["a"].failure, found["b"].failure) == ("", "")
    assert done[-1] == count
    assert reference.collisions == other.collisions == 0
    assert len(reference.log) == len(other.log) == count
    if count > slots:
        assert {slot for slot, _ in other.log} == set(range(min(slots, 16)))


def test_the_score_is_that_of_the_metric() -> None:
    found = evaluate({"right": answering(), "wrong": answering(1)}, "right", samples(20), Top(1))
    assert Top(1).score(found["right"].evidence) == 1
    assert Top(1).score(found["wrong"].evidence) == 0


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("at", [0, 7, 20])
def test_one_sessions_failure_leaves_the_others(at: int, slots: int) -> None:
    good = answering(1, slots)

    def work(inputs: Mapping[str, Any], slot: int) -> dict:
        if inputs["x"][0, 0] == at:
            raise EngineError("gave up")
        return {"y": scores(0)}

    failing = FakeSession(work, slots)
    found = evaluate({"a": answering(), "bad": failing, "good": good}, "a", samples(37), Record())
    assert found["bad"].failure == "gave up"
    assert len(found["a"].evidence) == len(found["good"].evidence) == 37
    assert found["good"].evidence[36] == (37, 36, 36)
    assert found["good"].failure == ""
    assert len(found["bad"].evidence) <= at
    # It is out: later samples are not shown to it.
    assert len(failing.log) <= (at // 16 + 1) * 16


def test_the_references_failure_ends_it() -> None:
    def work(inputs: Mapping[str, Any], slot: int) -> dict:
        raise EngineError("gave up")

    with pytest.raises(EngineError, match="gave up"):
        evaluate({"a": FakeSession(work), "b": answering()}, "a", samples(3), Record())


def test_outputs_that_are_no_classes_have_no_agreement() -> None:
    def work(inputs: Mapping[str, Any], slot: int) -> dict:
        return {"y": np.full((1, 2, 3, 4, 5), inputs["x"][0, 0] + 1, np.float32)}

    found = evaluate({"a": FakeSession(work), "b": FakeSession(work)}, "a", samples(5), Cosine())
    assert found["b"].agreement is None
    assert len(found["b"].evidence) == 5


def test_a_metric_that_cannot_judge_says_so() -> None:
    with pytest.raises(DataError):
        evaluate({"a": answering()}, "a", [Sample("s", {"x": np.zeros((1, 1), np.float32)}, None)], Top(1))
