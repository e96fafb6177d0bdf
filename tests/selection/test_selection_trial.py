"""A trial measures as far as a measurement can decide: made-up engines, made-up times, and what was run is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewbits.data import Dataset, Sample, Store
from fewbits.engines import Arrays, Mode, Options, Profile, Session
from fewbits.errors import EngineError, SampleError
from fewbits.measurement.metrics import Top
from fewbits.measurement.plain import Verdict
from fewbits.measurement.records import Memory, Subject, Timing
from fewbits.numerics.tensors import TensorSpec
from fewbits.progress import Progress
from fewbits.selection import clocking, proving, sessions, trial, weighing
from fewbits.selection.journal import NAME, Journal
from fewbits.selection.judging import STRETCH
from fewbits.selection.records import Budget
from fewbits.selection.trial import QUICK, SURE, Trial

CLASSES = 10
WHOLE = 1000
SLOTS = 3


class Numbers(Dataset):
    """Sample i holds the number i and has the label i modulo CLASSES."""

    name, labelled = "numbers", True

    def __init__(self, size: int = WHOLE) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Sample:
        return Sample(str(index), {"x": np.array([[index]], np.float32)}, index % CLASSES)

    def sample_name(self, index: int) -> str:
        return str(index)

    def label(self, index: int) -> int:
        return index % CLASSES

    def _read_content_key(self, index: int) -> str:
        return str(index)

    def _target_key(self, index: int) -> str:
        return str(index % CLASSES)


@dataclass
class Model:
    """``wrong(sample, mode, slot)`` says where it errs; ``ms`` is its time at batch 1."""

    ms: float
    wrong: Callable[[int, Mode, int], bool] = lambda _s, _m, _slot: False
    fails: bool = False


class Made(Session):
    def __init__(self, model: Model, mode: Mode) -> None:
        self.inputs = (TensorSpec("x", (1, 1), np.dtype(np.float32)),)
        self.outputs = (TensorSpec("y", (1, CLASSES), np.dtype(np.float32)),)
        self.slots = SLOTS if mode == "throughput" else 1
        self.settings = {"mode": mode}
        self.model, self.mode = model, mode

    def run(self, inputs: Mapping[str, np.ndarray], slot: int = 0) -> Arrays:
        if self.model.fails:
            raise EngineError("the engine gave up")
        number = int(inputs["x"][0, 0])
        label = number % CLASSES + int(self.model.wrong(number, self.mode, slot))
        return {"y": np.eye(CLASSES, dtype=np.float32)[[label % CLASSES]]}


class MadeEngine:
    def __init__(self, models: dict[str, Model]) -> None:
        self.models = models

    def compile(self, source: Path, options: Options) -> Session:
        return Made(self.models[source.stem], options.mode)

    def profile(self, *_: object, **__: object) -> Profile:
        return Profile(())


@dataclass
class Bench:
    """Makes trials of these models in one folder, so that a second one resumes the first."""

    folder: Path
    models: dict[str, Model]

    def trial(self, *, resume: bool = False, objective: str = "latency", **options: Any) -> Trial:
        subjects = {}
        for name in self.models:
            path = self.folder / f"{name}.onnx"
            path.write_bytes(b"x" * 100)
            subjects[name] = Subject(name, path, "made")
        self.journal = Journal(self.folder, "run", resume=resume)
        return Trial(
            subjects.values(),
            plain=[name for name in subjects if name.endswith("fp32")],
            data=Store(Numbers()),
            metric=Top(1),
            budget=Budget(objective=objective),  # type: ignore[arg-type]
            journal=self.journal,
            progress=Progress(),
            **options,
        )

    def run(self, **options: Any) -> Trial:
        made = self.trial(**options)
        made.weigh()
        made.settle(None)  # type: ignore[arg-type]
        made.measure()
        made.compare_modes()
        made.look_inside()
        return made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Model]], Bench]:
    def make(models: dict[str, Model]) -> Bench:
        engine = {"made": MadeEngine(models)}
        monkeypatch.setattr(sessions, "ENGINES", engine)
        monkeypatch.setattr(weighing, "ENGINES", engine)
        monkeypatch.setattr(weighing, "measure_memory", lambda _: Memory(1, 2))
        monkeypatch.setattr(proving, "judge_plain", lambda *_: Verdict({}))

        def timed(latency: Mapping[str, Session], *_: object, seed: int, **__: object) -> dict[str, Timing]:
            noise = np.random.default_rng(seed).normal(1, 0.02, len(latency))
            ms = {name: models[name].ms * noise[index] for index, name in enumerate(latency)}
            return {n: Timing(np.array([t]), np.array([t]), np.array([1000 / t])) for n, t in ms.items()}

        monkeypatch.setattr(clocking, "time_sessions", timed)
        return Bench(tmp_path, models)

    return make


def every(nth: int) -> Callable[[int, Mode, int], bool]:
    """Wrong on every n-th sample, in whatever mode and slot."""
    return lambda sample, _mode, _slot: sample % nth == 0


def usual() -> dict[str, Model]:
    return {
        "a-fp32": Model(10),
        "b-fp32": Model(12),
        "good": Model(4, every(250)),
        "wrong": Model(2, every(4)),
        "slow": Model(6),
    }


def samples_of(made: Trial) -> dict[str, int]:
    return {name: len(made.known.evidence[name, made.mode].evidence) for name in made.known.alive()}


def test_the_samples_answered_otherwise_are_known_by_their_places(bench: Callable[..., Bench]) -> None:
    made = bench(usual())
    for resume in (False, True):
        ran = made.run(resume=resume)
        assert ran.differing("good") == (0, 250, 500, 750)
        assert ran.differing("slow") == ran.differing(ran.reference) == ()
        assert ran.differing("wrong") == tuple(range(0, samples_of(ran)["wrong"], 4))


def test_only_what_may_be_chosen_sees_the_whole_set(bench: Callable[..., Bench]) -> None:
    made = bench(usual()).run()
    seen = samples_of(made)
    assert made.reference == "a-fp32"
    assert {name: count for name, count in seen.items() if name != "wrong"} == {
        "a-fp32": WHOLE,
        "good": WHOLE,
        "b-fp32": STRETCH,
        "slow": STRETCH,
    }
    assert made.drop("wrong").low > 0.01
    assert seen["wrong"] < WHOLE
    assert made.drop("good").estimate == pytest.approx(4 / WHOLE)
    assert made.leaders() == ["good"]
    assert made.short() == 0


def test_only_what_is_close_is_clocked_longer(bench: Callable[..., Bench]) -> None:
    made = bench(usual()).run()
    rounds = {name: len(made.known.timing(name).round_ms) for name in made.known.alive()}
    assert rounds == {"a-fp32": SURE, "good": SURE, "b-fp32": QUICK, "wrong": QUICK, "slow": QUICK}
    twins = bench(usual() | {"twin": Model(4.1, every(250))}).run()
    assert len(twins.known.timing("twin").round_ms) > SURE
    assert twins.known.timing("twin").numbers == twins.known.timing("good").numbers


def test_a_candidate_that_is_wrong_late_is_found_and_the_next_one_judged(bench: Callable[..., Bench]) -> None:
    """The first stretch of the fastest is faultless, the rest is not; then the second fastest is gone on with."""
    late = Model(2, lambda sample, _m, _s: sample >= STRETCH and sample % 3 == 0)
    made = bench(usual() | {"late": late}).run()
    assert made.drop("late").low > 0.01
    assert STRETCH < samples_of(made)["late"] < WHOLE
    assert samples_of(made)["good"] == WHOLE
    assert made.leaders() == ["good"]


def test_who_cannot_run_is_out_and_the_others_go_on(bench: Callable[..., Bench]) -> None:
    made = bench(usual() | {"broken": Model(1, fails=True)}).run()
    assert made.known.failures == {"broken": "the engine gave up"}
    assert made.leaders() == ["good"]


def test_who_could_not_run_is_not_tried_again(bench: Callable[..., Bench]) -> None:
    made = bench(usual() | {"broken": Model(1, fails=True)})
    made.run()
    again = made.run(resume=True)
    assert again.known.failures == {"broken": "the engine gave up"}
    assert made.journal.added == 0


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda _sample, mode, slot: mode == "throughput" and slot == 1, True),
        (lambda _sample, mode, _slot: mode == "throughput", True),
        (lambda sample, mode, _slot: mode == "throughput" and sample == 7, False),  # one that was on the edge
        (lambda _sample, _mode, _slot: False, False),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_mode_that_computes_something_else_is_withheld(
    wrong: Callable[[int, Mode, int], bool], found: bool, resume: bool, bench: Callable[..., Bench]
) -> None:
    made = bench({"a-fp32": Model(10), "other": Model(4, wrong)})
    if resume:  # outputs that an earlier run saw are not in memory any more
        first = made.trial()
        first.weigh()
        first.settle(None)  # type: ignore[arg-type]
        first.measure()
    known = made.run(resume=resume).known
    assert ("other" in known.withheld) == found
    assert "a-fp32" not in known.withheld


def test_whoever_comes_later_is_confirmed_only_as_far_as_it_takes(bench: Callable[..., Bench]) -> None:
    models = usual()
    made = bench(models)
    ran = made.run()
    models |= {"right": Model(3), "off": Model(3, every(5))}
    for name in ("right", "off"):
        ran.add(Subject(name, ran.known.subjects["good"].path.with_name(f"{name}.onnx"), "made"))
        ran.known.subjects[name].path.write_bytes(b"x" * 50)
    with pytest.raises(ValueError, match="right"):
        ran.add(ran.known.subjects["right"])
    speeds = ran.quick_clock(["right", "off"])
    assert set(speeds) == {"a-fp32", "right", "off"}
    assert set(speeds["right"].numbers) <= set(speeds["a-fp32"].numbers)
    right, off = ran.confirm("right", 0.01), ran.confirm("off", 0.01)
    assert (right.estimate, right.samples) == (0, WHOLE)
    assert off.low > 0.01
    assert off.samples < WHOLE
    assert ran.confirm("off", 0.9).samples == WHOLE
    before = made.journal.added
    assert ran.confirm("right", 0.01) == right
    assert made.journal.added == before
    # All steps take the late ones in.
    ran.weigh()
    ran.measure()
    ran.compare_modes()
    ran.look_inside()
    assert ran.leaders() == ["right"]
    assert len(ran.known.timing("right").round_ms) >= SURE
    # One that nobody clocked is clocked with the rest.
    models["last"] = Model(8)
    ran.add(replace(ran.known.subjects["right"], name="last"))
    ran.known.subjects["last"].path.with_name("last.onnx").write_bytes(b"x" * 100)
    ran.known.subjects["last"] = replace(ran.known.subjects["last"], path=made.folder / "last.onnx")
    ran.weigh()
    ran.measure()
    assert ran.leaders() == ["right"]
    assert len(ran.known.timing("last").round_ms) == QUICK


def test_time_that_is_over_leaves_the_best_so_far(bench: Callable[..., Bench]) -> None:
    made = bench(usual())
    cut = made.run(judge_by=0.0, finish_by=0.0)
    assert set(samples_of(cut).values()) == {1}
    assert {len(cut.known.timing(name).round_ms) for name in cut.known.alive()} == {trial._LEAST}
    assert cut.short() == 1
    added = made.journal.added
    again = made.run(resume=True, judge_by=0.0, finish_by=0.0)
    assert made.journal.added == 0 < added
    assert samples_of(again) == samples_of(cut)
    rest = made.run(resume=True)
    assert rest.short() == 0
    assert samples_of(rest)["good"] == WHOLE


def test_wherever_a_run_was_stopped_it_ends_the_same(bench: Callable[..., Bench], tmp_path: Path) -> None:
    made = bench(usual())
    whole = made.run()
    lines = (tmp_path / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    for kept in range(1, len(lines), 3):
        (tmp_path / NAME).write_text("".join(lines[:kept]), encoding="utf-8")
        again = made.run(resume=True)
        assert made.journal.added <= len(lines) - kept
        assert samples_of(again) == samples_of(whole)
        assert again.drop("good") == whole.drop("good")
        assert again.known.timing("good").round_ms.tolist() == whole.known.timing("good").round_ms.tolist()
        written = [json.loads(entry) for entry in (tmp_path / NAME).read_text(encoding="utf-8").splitlines()]
        keys = [(entry["kind"], entry["key"]) for entry in written]
        assert len(keys) == len(set(keys))
    made.run(resume=True)
    assert made.journal.added == 0


def test_samples_that_cannot_be_read_are_left_out_for_all_alike(bench: Callable[..., Bench]) -> None:
    """They lie at the start, in the middle, and where a stretch ends."""
    bad = {0, STRETCH - 1, STRETCH, 500}
    made = bench(usual())
    first = made.trial()
    read = first.data.dataset.read

    def picky(index: int) -> Sample:
        if index in bad:
            raise SampleError("is cut off", where=str(index))
        return read(index)

    first.data.dataset.read = picky  # type: ignore[method-assign]
    first.weigh()
    first.settle(None)  # type: ignore[arg-type]
    first.measure()
    assert samples_of(first)["good"] == WHOLE - len(bad)
    assert first.drop("good").estimate == pytest.approx(2 / (WHOLE - len(bad)))
    assert len(first.data.bad) == len(bad)
    assert first.short() == 0


def test_for_throughput_the_other_mode_decides(bench: Callable[..., Bench]) -> None:
    slow_alone = Model(4, lambda sample, mode, _slot: mode == "latency" and sample % 2 == 0)
    made = bench({"a-fp32": Model(10), "good": slow_alone}).run(objective="throughput")
    assert made.drop("good").estimate == 0
    assert "in latency mode" in made.known.withheld["good"]


def test_for_size_the_smallest_is_judged(bench: Callable[..., Bench]) -> None:
    models = usual()
    made = bench(models)
    first = made.trial(objective="size")
    first.known.subjects["slow"].path.write_bytes(b"x" * 10)
    first.weigh()
    first.settle(None)  # type: ignore[arg-type]
    first.measure()
    assert first.leaders() == ["slow"]
    assert samples_of(first)["slow"] == WHOLE
    assert samples_of(first)["good"] == STRETCH
