"""Variants are told apart by an engine whose answers are known: what is better by chance does not win."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from known import TRUTH, Oracle, at, labelled, reaching

from fewbits.data import Sample
from fewbits.engines import Arrays, Options
from fewbits.graph.edits import add_initializer
from fewbits.quantization import trial
from fewbits.quantization.plan import QuantPlan
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.trial import Trial, name
from fewbits.quantization.truth import TRIAL_SAMPLES, Truth
from fewbits.quantization.tune import Bench
from fewbits.quantization.workshop import Tuned
from models import network

MODEL = network("g (float[1,1] x) => (float[1,1] y) { y = Neg(x) }")


@pytest.fixture(autouse=True)
def _unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants reach the engine by their names only."""
    monkeypatch.setattr(trial, "build", labelled)


def numbered(count: int) -> list[Sample]:
    return [Sample(f"s{i}", {"x": np.array([[i]], np.float32)}) for i in range(count)]


def variant(method: str, *corrections: str) -> Tuned:
    made = QuantPlan({}, {}, (), {}, False)
    nothing: ir.Model = MODEL
    return Tuned(Recipe(method=method, corrections=corrections), nothing, None, made, nothing)


def trying(engine: Oracle, count: int = TRIAL_SAMPLES, threads: int | None = 2) -> Trial:
    return Trial(MODEL, Bench(engine, Options(threads=threads), numbered(count), lambda model: None))


MSE, MINMAX, ENTROPY = variant("mse"), variant("minmax"), variant("entropy")


def gains(standard_errors: float, scatter: float = 2.0) -> list[float]:
    """Gains in dB on all samples whose mean is that many standard errors."""
    drawn = np.random.default_rng(0).normal(size=TRIAL_SAMPLES)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    return list(scatter * (drawn + standard_errors / np.sqrt(TRIAL_SAMPLES)))


@pytest.mark.parametrize(
    ("standard_errors", "wins"), [(-5.0, False), (0.0, False), (0.9, False), (1.1, True), (9.0, True)]
)
@pytest.mark.parametrize("scatter", [0.01, 1.0, 5.0])
def test_only_what_is_better_beyond_doubt_wins(standard_errors: float, scatter: float, wins: bool) -> None:
    """However little it is better: a gain of hundredths that all samples share is no accident."""
    gained = gains(standard_errors * trial._MARGIN, scatter)
    trying_both = trying(reaching({"mse": 40.0, "minmax": [40 + gain for gain in gained]}))
    assert trying_both.best(MSE, [MINMAX]) is (MINMAX if wins else MSE)
    pooled = -10 * np.log10(np.mean(10 ** (-(40 + np.array(gained)) / 10)))
    assert trying_both.reached["minmax"] == pytest.approx(pooled, abs=1e-6)
    assert trying_both.reached["mse"] == pytest.approx(40, abs=1e-6)


def test_the_margin_is_no_smaller_than_two_standard_errors() -> None:
    assert trial._MARGIN >= 2


def test_one_lucky_sample_is_no_proof() -> None:
    lucky = [30.0] * (TRIAL_SAMPLES - 1) + [140.0]
    assert np.mean(lucky) > 36
    assert trying(reaching({"mse": 31.0, "minmax": lucky})).best(MSE, [MINMAX]) is MSE


def test_of_several_that_are_better_the_best_wins() -> None:
    engine = reaching({"mse": 40.0, "minmax": 41.0, "entropy": 44.0})
    assert trying(engine).best(MSE, [MINMAX, ENTROPY]) is ENTROPY
    assert trying(engine).best(MSE, [ENTROPY, MINMAX]) is ENTROPY
    # The larger gain is in doubt, the smaller one is not.
    engine = reaching({"mse": 40.0, "minmax": 41.0, "entropy": [40 + gain for gain in gains(1.0, 12.0)]})
    assert np.mean(gains(1.0, 12.0)) > 1.5
    assert trying(engine).best(MSE, [ENTROPY, MINMAX]) is MINMAX


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_samples_leave_the_favourite(count: int) -> None:
    """Of two figures no scatter is known."""
    engine = reaching({"mse": 10.0, "minmax": 90.0})
    assert trying(engine, count).best(MSE, [MINMAX]) is MSE
    assert not engine.compiled
    assert trying(engine, 3).best(MSE, [MINMAX]) is MINMAX


def test_nobody_to_compare_with_costs_nothing() -> None:
    engine = reaching({})
    assert trying(engine).best(MSE, []) is MSE
    assert not engine.compiled


def test_measuring_without_samples_measures_nothing() -> None:
    engine = reaching({"mse": 40.0})
    without = trying(engine, 0)
    without.begin(MSE)
    assert (without.reached, engine.compiled) == ({}, [])


def test_everything_is_run_once_on_one_thread_each_and_closed() -> None:
    engine = reaching({"mse": 40.0, "minmax": 39.0, "entropy": 38.0})
    tried = trying(engine, 40)
    tried.best(MSE, [MINMAX])
    tried.best(MSE, [ENTROPY, MINMAX])
    for begun_before in (MSE, ENTROPY):
        assert tried.begin(begun_before) is begun_before
    assert sorted(engine.compiled) == ["", "entropy", "minmax", "mse"]
    assert not engine.open
    assert {(o.mode, o.threads, o.precision) for o in engine.options} == {("latency", 1, "f32")}
    assert tried.reached.keys() == {"mse", "minmax", "entropy"}


def test_only_the_first_samples_are_looked_at() -> None:
    seen: list[int] = []

    def answer(asked: str, index: int) -> Arrays:
        seen.append(index)
        return {"y": TRUTH}

    with trying(Oracle(answer), 100, threads=1) as tried:
        tried.begin(MSE)
        assert tried.reached["mse"] == 150
    assert sorted(seen) == sorted([*range(TRIAL_SAMPLES)] * 2)


def test_a_session_is_closed_when_it_fails() -> None:
    def answer(asked: str, index: int) -> Arrays:
        if asked and index == 2:
            raise RuntimeError("no memory left")
        return {"y": TRUTH}

    engine = Oracle(answer)
    with pytest.raises(RuntimeError, match="no memory left"), trying(engine) as tried:
        tried.best(MSE, [MINMAX])
    assert not engine.open


# What the FP32 model gives and what the variant gives → how far apart they count, in dB.
OUTPUTS = {
    "equal": ({"y": TRUTH}, {"y": TRUTH}, 150),
    "noisy": ({"y": TRUTH}, {"y": at(33.0)}, 33),
    "the worst output counts": ({"y": 1e6 * TRUTH, "z": TRUTH}, {"y": 1e6 * at(60.0), "z": at(20.0)}, 20),
    "other boxes": ({"y": TRUTH}, {"y": TRUTH[:2]}, -50),
    "one of two of another shape": ({"y": TRUTH, "z": TRUTH}, {"y": TRUTH, "z": TRUTH[None]}, -50),
    "nothing found on either side": ({"y": TRUTH[:0]}, {"y": TRUTH[:0]}, 150),
    "noise where there was nothing": ({"y": np.zeros(3)}, {"y": TRUTH}, -50),
    "not a number": ({"y": TRUTH}, {"y": TRUTH * np.nan}, -50),
    "class numbers": ({"y": np.array([3, 5])}, {"y": np.array([3, 5])}, 150),
    "far too loud": ({"y": TRUTH}, {"y": 1e9 * TRUTH}, -50),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_how_far_outputs_are_apart(what: str) -> None:
    truth, got, db = OUTPUTS[what]
    tried = trying(Oracle(lambda asked, _: got if asked else truth))
    tried.begin(MSE)
    assert tried.reached["mse"] == pytest.approx(db, abs=1e-6)
    assert tried.best(MSE, [MINMAX]) is MSE


def test_names_say_what_was_done_in_one_order() -> None:
    recipe = Recipe(method="mse", corrections=("bias", "rounding", "equalize"))
    assert name(recipe) == "mse+equalize+rounding+bias"
    assert name(replace(recipe, corrections=())) == "mse"
    assert name(replace(recipe, method="entropy", corrections=("bias-measured",))) == "entropy+bias-measured"


def test_fp32_is_run_once_for_all_trials_that_share_it_on_the_samples_it_began_with() -> None:
    engine = reaching({"mse": 30.0, "minmax": 20.0})
    truth = Truth(MODEL, engine, Options())
    truth.begin(numbered(TRIAL_SAMPLES + 3))
    bench = Bench(engine, Options(), numbered(TRIAL_SAMPLES), lambda model: None, truth=truth)
    for _ in range(2):
        with Trial(MODEL, bench) as tried:
            assert tried.best(MINMAX, [MSE]) is MSE
    assert engine.compiled.count("") == 1
    assert len(truth.begin([]).result()) == TRIAL_SAMPLES


def test_the_weights_of_a_variant_do_not_outlive_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its nodes and values know each other: without this they would stay until garbage is collected."""
    built = []

    def with_weights(tuned: Tuned) -> ir.Model:
        model = labelled(tuned)
        add_initializer(model, "w", np.ones(1000, np.float32))
        built.append(model)
        return model

    monkeypatch.setattr(trial, "build", with_weights)
    tried = trying(reaching({"mse": 40.0}))
    with tried:
        tried.begin(MSE)
        assert tried.reached
    assert [model.graph.initializers["w"].const_value for model in built] == [None]
