"""What a recipe leaves open is settled by a measurement, what it names is done."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
import pytest
from known import labelled, reaching
from outliers import convolutions
from tuning import MINMAX, ONE_THREAD, bench, distance_db, watched

from fewbits.calibration.collect import fingerprint
from fewbits.calibration.statistics import Statistics
from fewbits.engines import ENGINES, TRIALS, Engine
from fewbits.graph import qdq
from fewbits.numerics import METHODS
from fewbits.quantization import trial
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.tune import Bench, Tuned, build, samples_needed, tune
from fewbits.quantization.workshop import CORRECTION_SAMPLES
from models import check, perceptron, residual, samples

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
AUTO = Recipe()
EVEN = dict.fromkeys([*METHODS, *(f"{method}+bias" for method in METHODS), "mse+equalize+bias", "mse+equalize"], 40.0)
TRIED = {*(f"{method}+bias" for method in METHODS), "mse"}


class Kitchen:
    """Tuning with an engine whose answers are known; counts the passes over the calibration set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: ir.Model, count: int = 8) -> None:
        monkeypatch.setattr(trial, "build", labelled)
        self.source, self.drawn = source, samples(source, count)
        self.statistics = watched(source, self.drawn or samples(source, 8))
        self.passes: list[ir.Model] = []

    def tune(self, recipe: Recipe, **reached: float) -> Tuned:
        table = EVEN | {key.replace("_", "+"): value for key, value in reached.items()}
        self.engine = reaching(table)
        return tune(
            self.source, self.statistics, recipe, TRIALS, Bench(self.engine, ONE_THREAD, self.drawn, self._again)
        )

    def _again(self, model: ir.Model) -> Statistics:
        self.passes.append(model)
        return watched(model, self.drawn)


@pytest.mark.parametrize(
    ("reached", "method", "corrections"),
    [
        ({}, "mse", ("bias",)),
        ({"mse": 42.0}, "mse", ()),
        ({"minmax_bias": 42.0}, "minmax", ("bias",)),
        ({"entropy_bias": 43.0, "percentile_bias": 42.0, "mse": 41.0}, "entropy", ("bias",)),
        ({"mse_bias": 45.0}, "mse", ("bias",)),
        ({"mse_equalize_bias": 60.0}, "mse", ("bias",)),
    ],
)
def test_auto_takes_what_is_better(
    monkeypatch: pytest.MonkeyPatch, reached: dict[str, float], method: str, corrections: tuple[str, ...]
) -> None:
    """An ordinary network: equalization is not even tried."""
    kitchen = Kitchen(monkeypatch, residual())
    tuned = kitchen.tune(AUTO, **reached)
    assert (tuned.recipe.method, tuned.recipe.corrections) == (method, corrections)
    assert tuned.recipe == replace(AUTO, method=method, corrections=corrections), "all else stays as it was"
    assert tuned.sqnr_db.keys() == TRIED
    assert sorted(kitchen.engine.compiled) == sorted(["", *TRIED])
    assert not kitchen.passes
    assert tuned.source is kitchen.source
    assert (tuned.corrected is tuned.source) == (not corrections)
    ranges = kitchen.statistics.ranges(method, symmetric=False)
    assert float(tuned.plan.values["r0"].scale) == pytest.approx(ranges["r0"][1] / 255, rel=1e-6)


@pytest.mark.parametrize(("reached", "kept"), [(41.0, True), (40.0, False), (20.0, False)])
def test_equalization_is_tried_where_it_promises_and_kept_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, reached: float, kept: bool
) -> None:
    kitchen = Kitchen(monkeypatch, convolutions(100.0))
    tuned = kitchen.tune(AUTO, mse_equalize_bias=reached)
    assert tuned.sqnr_db.keys() == {*TRIED, "mse+equalize+bias"}
    assert tuned.recipe.corrections == (("equalize", "bias") if kept else ("bias",))
    (tried,) = kitchen.passes
    assert tuned.source is (tried if kept else kitchen.source)
    assert tuned.statistics.model == fingerprint(tuned.source), "the scales are of the model that is built"


def test_equalization_follows_the_best_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen = Kitchen(monkeypatch, convolutions(100.0))
    tuned = kitchen.tune(AUTO, mse=44.0, mse_equalize=46.0)
    assert tuned.recipe.corrections == ("equalize",)


def test_rounding_that_is_asked_for_is_done_and_told_beside_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it does not help: it was asked for, and the figures say so."""
    kitchen = Kitchen(monkeypatch, perceptron())
    monkeypatch.setattr("fewbits.quantization.workshop.learn_rounding", lambda model, *_, **__: model.clone())
    tuned = kitchen.tune(Recipe(method="minmax", corrections=("rounding", "bias")), minmax_rounding_bias=30.0)
    assert tuned.recipe.corrections == ("rounding", "bias")
    assert tuned.sqnr_db == pytest.approx({"minmax+bias": 40.0, "minmax+rounding+bias": 30.0})
    both_open = kitchen.tune(Recipe(corrections=("auto", "rounding")), mse=50.0, mse_rounding=51.0)
    assert both_open.recipe.corrections == ("rounding",)
    assert both_open.sqnr_db.keys() == {*TRIED, "mse+rounding"}


@pytest.mark.parametrize("corrections", [(), ("bias",), ("bias-measured",), ("equalize",), ("equalize", "bias")])
def test_what_is_named_is_done_without_a_trial(corrections: tuple[str, ...]) -> None:
    source = residual()
    drawn = samples(source, 8)
    tuned = tune(
        source, watched(source, drawn), Recipe(method="entropy", corrections=corrections), TRIALS, bench(drawn)
    )
    assert tuned.recipe == Recipe(method="entropy", corrections=corrections)
    assert tuned.sqnr_db == {}
    assert (tuned.source is source) == ("equalize" not in corrections)
    check(build(tuned))


@pytest.mark.parametrize("count", [0, 2])
def test_without_samples_to_try_on_the_favourite_stays(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    kitchen = Kitchen(monkeypatch, residual(), count)
    tuned = kitchen.tune(AUTO, mse=90.0, minmax_bias=99.0)
    assert (tuned.recipe.method, tuned.recipe.corrections) == ("mse", ("bias",))
    assert tuned.sqnr_db == {}
    assert not kitchen.engine.compiled


@both
def test_what_wins_on_real_outputs_is_at_least_as_good_as_the_favourite(engine: Engine) -> None:
    source = residual()
    drawn = samples(source, 8)
    tuned = tune(source, watched(source, drawn), AUTO, engine, bench(drawn))
    assert tuned.sqnr_db.keys() == TRIED
    chosen = trial.name(tuned.recipe)
    assert tuned.sqnr_db[chosen] >= tuned.sqnr_db["mse+bias"]
    made = build(tuned)
    check(made)
    assert set(qdq.quantized_values(made)) == set(tuned.plan.values)
    assert distance_db(source, made, drawn) > 25


@both
def test_all_corrections_at_once(engine: Engine) -> None:
    """Channels a hundred times louder and 7-bit weights: equalization saves the one, rounding helps with the other."""
    source = convolutions(100.0)
    drawn = samples(source, 24)
    before = ir.to_proto(source).SerializeToString()

    def tuned(*corrections: str) -> Tuned:
        recipe = replace(MINMAX, corrections=corrections, weight_bits=7)
        return tune(source, watched(source, drawn), recipe, engine, bench(drawn))

    plain, whole = tuned(), tuned("equalize", "rounding", "bias")
    assert whole.recipe.corrections == ("equalize", "rounding", "bias")
    assert ir.to_proto(source).SerializeToString() == before
    gained = distance_db(source, build(whole), drawn) - distance_db(source, build(plain), drawn)
    assert gained > 10
    assert whole.sqnr_db["minmax+equalize+rounding+bias"] > whole.sqnr_db["minmax+equalize+bias"]


def test_how_many_samples_are_needed() -> None:
    assert samples_needed(MINMAX) == samples_needed(Recipe(method="mse", corrections=("bias", "equalize"))) == 0
    assert samples_needed(AUTO) == samples_needed(Recipe(method="mse")) == trial.TRIAL_SAMPLES
    assert samples_needed(Recipe(corrections=())) == trial.TRIAL_SAMPLES
    for correction in ("rounding", "bias-measured"):
        assert samples_needed(Recipe(method="mse", corrections=(correction,))) == CORRECTION_SAMPLES
        assert samples_needed(Recipe(corrections=("auto", correction))) == CORRECTION_SAMPLES >= trial.TRIAL_SAMPLES
