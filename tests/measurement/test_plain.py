"""FP32 that computes something else than the model says is found, in whatever slot and output, and it alone is out.

Engines here are functions; what the model says is ONNX Runtime's answer to the original, or the reference evaluator's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from fakes import FakeSession

from fewbits.data import Sample
from fewbits.engines import ENGINES, Arrays, Engine, Mode, Options, Profile, Session
from fewbits.errors import EngineError
from fewbits.measurement import oracle, plain
from fewbits.measurement.apart import Apart
from fewbits.measurement.plain import SAMPLES, Verdict, judge_plain
from models import conv_relu_conv, i64, network, samples
from models import oracle as answer_of

MODEL = conv_relu_conv()
Work = Callable[[Mapping[str, Any]], Arrays]


def honest(inputs: Mapping[str, Any]) -> Arrays:
    return answer_of(MODEL, dict(inputs))


def doubled(inputs: Mapping[str, Any]) -> Arrays:
    return {name: array * 2 for name, array in honest(inputs).items()}


@dataclass(frozen=True)
class Made(Engine):
    """The reference: runs everything by one function, or nothing at all."""

    work: Work | None = honest
    name: ClassVar[str] = "made"
    version: ClassVar[str] = "1"  # type: ignore[assignment]

    def devices(self) -> tuple[str, ...]:
        return ("CPU",)

    def refuses(self, precision: str, device: str) -> str | None:
        return None

    def compile(self, source: Any, options: Options) -> Session:
        if self.work is None:
            raise EngineError("an operator is missing")
        work = self.work
        return FakeSession(lambda inputs, _: work(inputs))

    def profile(self, *_: Any, **__: Any) -> Profile:
        return Profile(())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work | None], list[int]]:
    """What the reference evaluator says, or None where it cannot run it; the list counts how often it was asked."""
    monkeypatch.setattr(plain, "try_in_child", lambda *_, **__: None)

    def set_up(work: Work | None) -> list[int]:
        asked: list[int] = []

        def answers(_: ir.Model, given: Sequence[Sample]) -> list[Arrays]:
            asked.append(len(given))
            if work is None:
                raise EngineError("it would take about 60 s a sample")
            return [work(sample.inputs) for sample in given]

        monkeypatch.setattr(plain, "oracle_answers", answers)
        return asked

    return set_up


def judged(reference: Work | None, **sessions: tuple[str, Work]) -> Verdict:
    """Sessions by name, each (engine, function), held against a reference of engine "made"."""
    opened = {name: FakeSession(lambda inputs, _, w=work: w(inputs)) for name, (_, work) in sessions.items()}
    engines = {name: engine for name, (engine, _) in sessions.items()}
    return judge_plain(MODEL, MODEL, opened, engines, samples(MODEL, SAMPLES), Made(reference))


def test_engines_that_agree_settle_it_without_the_evaluator(said: Any) -> None:
    asked = said(doubled)
    assert judged(honest, mine=("made", honest), other=("other", honest)) == Verdict({})
    assert not asked


@pytest.mark.parametrize(
    ("reference", "mine", "other", "evaluator", "out"),
    [
        (honest, honest, doubled, honest, {"other"}),
        (doubled, doubled, honest, honest, {"mine"}),  # the reference is the one that is wrong
        (honest, doubled, doubled, honest, {"mine", "other"}),  # a rewrite is wrong, and both engines run it
        (honest, honest, doubled, None, {"other"}),  # the evaluator cannot run it: the reference stands
        (honest, doubled, honest, doubled, {"mine"}),  # two makes agree, whatever the evaluator says
        (None, honest, doubled, honest, {"other"}),
        (None, doubled, honest, honest, {"mine"}),
    ],
)
def test_where_engines_part_the_one_that_is_wrong_is_out(
    said: Any, reference: Work | None, mine: Work, other: Work, evaluator: Work | None, out: set[str]
) -> None:
    said(evaluator)
    found = judged(reference, mine=("made", mine), other=("other", other))
    assert found.faulty.keys() == out
    assert all("dB at output y" in sentence for sentence in found.faulty.values())


def test_the_evaluator_is_overruled_where_nobody_agrees_with_it(said: Any) -> None:
    said(lambda inputs: {"y": -honest(inputs)["y"]})
    found = judged(honest, mine=("made", honest))
    assert not found.faulty
    assert "overruled" in found.notes[0]


def test_what_could_not_be_checked_is_said(said: Any) -> None:
    said(None)
    assert "60 s a sample" in judged(honest, mine=("made", honest)).notes[0]
    assert judged(None, mine=("other", honest)).notes
    said(doubled)
    found = judged(None, mine=("other", honest))  # one engine against the evaluator: who is right?
    assert not found.faulty
    assert "not checked" in found.notes[0]


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
def test_one_slot_that_is_wrong_is_found(wrong: Any, faulty: bool, slots: int, said: Any) -> None:
    def work(inputs: Mapping[str, Any], slot: int) -> Arrays:
        y = honest(inputs)["y"]
        return {"y": wrong(y) if slot == 1 else y}

    said(honest)
    sessions = {
        "suspect": FakeSession(work, slots),
        "good": FakeSession(lambda inputs, _: honest(inputs), slots),
    }
    engines = {"suspect": "other", "good": "other"}
    found = judge_plain(MODEL, MODEL, sessions, engines, samples(MODEL, 2), Made())
    assert set(found.faulty) == ({"suspect"} if faulty else set())
    assert {slot for slot, _ in sessions["suspect"].log} == set(range(slots))


def test_answers_of_an_earlier_run_are_found_although_they_are_of_this_model(said: Any) -> None:
    first: list[Arrays] = []

    def work(inputs: Mapping[str, Any]) -> Arrays:
        first.append(honest(inputs))
        return first[0]

    said(honest)
    assert judged(honest, stale=("other", work)).faulty.keys() == {"stale"}


def test_engines_that_reuse_their_memory_are_not_blamed_for_it(said: Any) -> None:
    buffer = np.empty((1, 5, 6, 6), np.float32)

    def work(inputs: Mapping[str, Any]) -> Arrays:
        buffer[:] = honest(inputs)["y"]
        return {"y": buffer}

    said(None)
    assert not judged(honest, thrifty=("other", work)).faulty


@pytest.mark.parametrize("what", ["fails", "another shape", "missing"])
def test_a_session_that_gives_no_answer_is_named_not_a_traceback(what: str, said: Any) -> None:
    def work(inputs: Mapping[str, Any]) -> Arrays:
        if what == "fails":
            raise EngineError("out of memory")
        return {"y": honest(inputs)["y"][0]} if what == "another shape" else {"z": honest(inputs)["y"]}

    said(honest)
    try:
        assert judged(honest, suspect=("other", work)).faulty.keys() == {"suspect"}
    except EngineError as error:
        assert what == "missing" and "y" in str(error)


def pairs(expected: Sequence[Any], got: Sequence[Any]) -> Apart:
    return Apart.between(({"y": np.asarray(e)}, {"y": np.asarray(g)}) for e, g in zip(expected, got, strict=True))


def test_one_sample_or_one_output_that_is_all_but_nothing_decides_nothing() -> None:
    """Pooled over samples: what is lost of a tiny output is little beside the others."""
    large, tiny = np.ones(10, np.float32), np.full(10, 1e-6, np.float32)
    assert not pairs([large, tiny], [large, tiny * 0]).fault()
    assert pairs([large, tiny], [large * 0, tiny]).fault()


def test_whole_numbers_may_tip_over_here_and_there() -> None:
    right = np.arange(40).reshape(8, 5)
    few, many = right.copy(), right.copy()
    few[0, 0], many[:, :2] = -1, -1
    assert pairs(right, right).alike
    assert not pairs(right, few).fault()
    assert "whole numbers of output y" in pairs(right, many).fault()
    assert pairs([np.array([True, True])], [np.array([False, True])]).fault()


def test_outputs_of_another_size_are_wrong_and_no_fault_of_ours() -> None:
    """The number of detections depends on the data."""
    three, two = np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)
    assert pairs([three], [two]).fault()
    assert not pairs([np.arange(3)] * 9, [np.arange(3)] * 8 + [np.arange(2)]).fault()
    assert not pairs([np.zeros((0, 4), np.float32)], [np.zeros((0, 4), np.float32)]).fault()


def test_what_rounding_alone_does_is_no_fault() -> None:
    """x - mean(x) of all but equal numbers keeps no digit, whoever computes it."""
    model = network("g (float[1,64] x) => (float[1,64] y) { m = ReduceMean<axes=[1]>(x)  y = Sub(x, m) }")
    rng = np.random.default_rng(0)
    given = [Sample(str(i), {"x": np.float32(1000) + rng.normal(0, 1e-4, (1, 64)).astype(np.float32)}) for i in (0, 1)]

    def other(inputs: Mapping[str, Any], _: int) -> Arrays:
        return {"y": inputs["x"] - np.float32(inputs["x"].astype(np.float64).mean() + 1e-4)}

    sessions = {"other": FakeSession(other)}
    assert not judge_plain(model, model, sessions, {"other": "other"}, given).faulty
    broken = {"other": FakeSession(lambda inputs, _: {"y": inputs["x"]})}
    assert judge_plain(model, model, broken, {"other": "other"}, given).faulty


def test_the_evaluator_is_not_begun_where_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = network("g (float[4096,4096] x) => (float[4096,65536] y) { y = MatMul(x, w) }", w=(4096, 4096))
    wide.graph.outputs[0].shape = ir.Shape([4096, 65536])
    monkeypatch.setattr(oracle, "reference_outputs", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(EngineError, match="would take about"):
        oracle.oracle_answers(wide, [Sample(str(i), {}) for i in range(4)])


@pytest.mark.parametrize("modes", [("latency",), ("throughput",), ("latency", "throughput")])
def test_the_engines_here_pass(modes: tuple[Mode, ...]) -> None:
    sessions = {f"{n} {m}": engine.compile(MODEL, Options(mode=m)) for n, engine in ENGINES.items() for m in modes}
    engines = {label: label.split()[0] for label in sessions}
    assert judge_plain(MODEL, MODEL, sessions, engines, samples(MODEL, SAMPLES)) == Verdict({})


def test_one_engine_alone_is_held_against_the_evaluator() -> None:
    model = network("g (float[1,4] x) => (float[1,4] y) { n = Reshape(x, s)  y = Relu(n) }", s=i64(1, 4))
    session = ENGINES["onnxruntime"].compile(model, Options())
    given = samples(model, SAMPLES)
    assert judge_plain(model, model, {"a": session}, {"a": "onnxruntime"}, given) == Verdict({})
