"""The search, with a trial whose answers are known: what is tried, in which order, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_sensitivity_and_costs import BOTH_THREADS, one_bad_layer, tuned_for

from fewbits.engines import TRIALS, OpTime, Profile
from fewbits.engines.onnxruntime import OnnxRuntime
from fewbits.errors import EngineError
from fewbits.measurement.interval import Drop
from fewbits.progress import Progress
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.workshop import Bench, Tuned
from fewbits.selection.build import Built
from fewbits.selection.gain import Gain
from fewbits.selection.journal import Journal
from fewbits.selection.records import Budget, Candidate
from fewbits.selection.search import Search
from fewbits.selection.tuning import Tuning
from models import samples

PLAIN, ROUNDED = "onnxruntime-int8", "onnxruntime-int8-rounded"
# only_db ranks the groups bad, first, last; their times make "first" dear and the other two cheap.
TIMES = {"first": (10.0, 100.0), "bad": (10.0, 12.0), "last": (10.0, 12.0)}


@dataclass
class Stand:
    """A trial: drops by candidate, and how many times faster than FP32 each is."""

    drops: Callable[[str], float]
    speed: Callable[[str], float] = lambda name: 1.0 if "fp32" in name and "int8" not in name else 3.0
    broken: frozenset[str] = frozenset()
    late: bool = False
    budget: Budget = field(default_factory=Budget)
    reference: str = "onnxruntime-fp32"
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subjects: dict[str, object] = dict.fromkeys([self.reference, PLAIN])
        self.known = SimpleNamespace(
            subjects=self.subjects, alive=lambda: [name for name in self.subjects if name not in self.broken]
        )

    def add(self, subject: Any) -> None:
        self.subjects[subject.name] = subject

    def weigh(self) -> None:
        """Nothing to weigh: these candidates are made up."""

    def quick_clock(self, names: list[str]) -> None:
        assert set(names) <= self.subjects.keys()

    def confirm(self, name: str, allowed: float) -> Drop:
        assert allowed == self.budget.max_drop
        if name in self.broken:
            raise EngineError("it broke")
        if name not in self.asked:
            self.asked.append(name)
        drop = self.drops(name)
        return Drop(drop, drop - 0.001, drop + 0.001, 0.95, "bootstrap", 100)

    def drop(self, name: str) -> Drop:
        return Drop(self.drops(name), self.drops(name) - 0.001, self.drops(name) + 0.001, 0.95, "bootstrap", 64)

    def best(self) -> str:
        inside = [name for name in self.asked if self.drops(name) <= self.budget.max_drop]
        return max(inside, key=self.speed, default=self.reference)

    def gain(self, base: str, other: str) -> Gain:
        ratio = self.speed(other) / self.speed(base)
        return Gain(ratio * 0.98, ratio, ratio * 1.02)


class Yard:
    def __init__(self, folder: Path, formats: tuple[str, ...], recipe: Recipe) -> None:
        self.job = SimpleNamespace(formats=formats, recipe=recipe, folder=folder, options=BOTH_THREADS)
        self.journal = Journal(folder, "run", resume=False)
        self.built = {
            name: Built(Candidate(name, "onnxruntime", kind, "f32"), f"{name}.onnx", kind)
            for name, kind in (("onnxruntime-fp32", "fp32"), (PLAIN, "int8"))
        }
        self.built["openvino-int8"] = Built(Candidate("openvino-int8", "openvino", "int8", "f32"), "other.onnx", "int8")
        self.tuned: dict[str, Tuned] = {}

    def build(self, candidate: Candidate, tuned: Tuned) -> Any:
        self.tuned[candidate.name] = tuned
        self.built[candidate.name] = Built(candidate, f"{candidate.name}.onnx", candidate.format)
        return SimpleNamespace(subject=lambda _job: candidate)


@pytest.fixture
def profiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Profiles with made-up times; the files they were asked for."""
    asked: list[str] = []

    def profile(self: OnnxRuntime, source: Path, options: object, inputs: object, runs: int = 20) -> Profile:
        asked.append(source.name)
        at = 0 if "int8" in source.name else 1
        return Profile(tuple(OpTime(name, "Conv", "", times[at]) for name, times in TIMES.items()))

    monkeypatch.setattr(OnnxRuntime, "profile", profile)
    return asked


def searched(
    folder: Path, trial: Stand, *, formats: tuple[str, ...] = ("int8", "mixed"), recipe: Recipe | None = None
) -> tuple[Search, Yard]:
    tuned = tuned_for(one_bad_layer(), Recipe(method="minmax", corrections=("bias",)))
    drawn = samples(tuned.source, 64)
    bench = Bench(TRIALS, BOTH_THREADS, drawn, lambda _: tuned.statistics)
    yard = Yard(folder, formats, recipe or Recipe())
    tuning: Any = Tuning(SimpleNamespace(calibration=None), {"onnxruntime": tuned}, bench)  # type: ignore[arg-type]
    search = Search(TRIALS, yard, trial, tuning, Progress())  # type: ignore[arg-type]
    search.run()
    return search, yard


def kept_float(yard: Yard, name: str) -> set[str]:
    return {rule.glob for rule in yard.tuned[name].recipe.rules if rule.choice == "float"}


@pytest.mark.usefixtures("profiled")
def test_int8_inside_the_budget_is_left_alone(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.005)
    search, yard = searched(tmp_path, trial)
    assert trial.asked == [PLAIN]
    assert not yard.tuned
    assert {facts.name for facts in search.groups} == set(TIMES), "the report shows them all the same"


@pytest.mark.usefixtures("profiled")
def test_layers_that_are_faster_in_float_leave_int8_even_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIMES, "last", (10.0, 5.0))
    trial = Stand(lambda name: 0.005)
    _, yard = searched(tmp_path, trial)
    assert trial.asked == [PLAIN, "onnxruntime-int8+fp32-1of3"]
    assert kept_float(yard, trial.asked[-1]) == {"last"}


@pytest.mark.usefixtures("profiled")
@pytest.mark.parametrize(("lead", "cheap_us", "looked_at"), [(1.5, 10.0, False), (1.01, 10.0, True), (1.1, 4.0, True)])
def test_layers_are_not_looked_at_where_another_engine_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lead: float, cheap_us: float, looked_at: bool
) -> None:
    """INT8 takes 30 µs in the profile; float saves it 6 where the last layer takes 4 there."""
    monkeypatch.setitem(TIMES, "last", (10.0, cheap_us))
    trial = Stand(lambda name: 0.005, lambda name: 3.0 * lead if name.startswith("openvino") else 3.0)
    trial.asked.append("openvino-int8")
    search, _ = searched(tmp_path, trial)
    assert bool(search.groups) == looked_at


@pytest.mark.usefixtures("profiled")
def test_better_rounding_comes_before_a_mix(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.002 if name == ROUNDED else 0.05)
    _, yard = searched(tmp_path, trial)
    assert trial.asked == [PLAIN, ROUNDED]
    assert yard.tuned[ROUNDED].recipe.corrections == ("rounding", "bias")


@pytest.mark.usefixtures("profiled")
def test_the_fewest_layers_leave_that_bring_it_inside(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.002 if name.endswith(("1of3", "2of3")) else 0.05)
    search, yard = searched(tmp_path, trial)
    assert trial.asked == [PLAIN, ROUNDED, "onnxruntime-int8+fp32-2of3", "onnxruntime-int8+fp32-1of3"]
    assert kept_float(yard, "onnxruntime-int8+fp32-1of3") == {"bad"}, "most noise for least time"
    assert search.groups[0].name == "bad"
    mixed = yard.tuned["onnxruntime-int8+fp32-1of3"]
    assert mixed.recipe.corrections == ("rounding", "bias"), "on top of the better INT8"
    assert "bad" not in mixed.plan.weights
    assert {"first", "last"} <= mixed.plan.weights.keys()


@pytest.mark.usefixtures("profiled")
def test_no_mix_is_tried_that_would_be_slower_than_what_is_inside(tmp_path: Path) -> None:
    """INT8 takes 30 us in the profile and is 1.1 times as fast as FP32: 33 us may be spent, two cheap moves are 34."""
    trial = Stand(lambda name: 0.05, speed=lambda name: 1.1 if "int8" in name else 1.0)
    searched(tmp_path, trial)
    assert trial.asked == [PLAIN, ROUNDED, "onnxruntime-int8+fp32-1of3"]


@pytest.mark.usefixtures("profiled")
def test_int8_that_is_no_faster_than_what_is_inside_is_not_improved(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.05, speed=lambda name: 1.0)
    searched(tmp_path, trial)
    assert trial.asked == [PLAIN]


@pytest.mark.usefixtures("profiled")
def test_what_was_not_asked_for_is_not_tried(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.05)
    searched(tmp_path, trial, formats=("int8",), recipe=Recipe(corrections=("bias",)))
    assert trial.asked == [PLAIN]


@pytest.mark.usefixtures("profiled")
def test_a_candidate_that_breaks_is_not_inside(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.05 if name == PLAIN else 0.0, broken=frozenset([ROUNDED]))
    _, yard = searched(tmp_path, trial)
    assert trial.asked == [PLAIN, "onnxruntime-int8+fp32-2of3", "onnxruntime-int8+fp32-1of3"]
    assert "rounding" not in yard.tuned["onnxruntime-int8+fp32-1of3"].recipe.corrections


@pytest.mark.usefixtures("profiled")
def test_nothing_is_begun_when_the_time_is_over(tmp_path: Path) -> None:
    trial = Stand(lambda name: 0.05, late=True)
    search, yard = searched(tmp_path, trial)
    assert (trial.asked, yard.tuned, search.groups) == ([], {}, ())

    def confirmed(name: str) -> float:
        trial.late = name == ROUNDED
        return 0.05

    trial = Stand(confirmed)
    searched(tmp_path, trial)
    assert trial.asked == [PLAIN, ROUNDED]


def test_the_order_of_moves_survives_a_stop(
    tmp_path: Path, profiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are not the same twice; a resumed run must not come to another order."""
    search, _ = searched(tmp_path, Stand(lambda name: 0.05))
    assert profiled == [f"{PLAIN}.onnx", "onnxruntime-fp32.onnx"]
    monkeypatch.setitem(TIMES, "last", (10.0, 5.0))
    monkeypatch.setattr(Journal, "__init__", _reopened(Journal.__init__))
    again, _ = searched(tmp_path, Stand(lambda name: 0.05))
    assert len(profiled) == 2
    assert again.groups == search.groups


def _reopened(opened: Callable[..., None]) -> Callable[..., None]:
    return lambda self, folder, run, *, resume: opened(self, folder, run, resume=True)
