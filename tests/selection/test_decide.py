"""The decision as a pure function: made-up measurements in, the choice and its sentences out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewbits.engines import ENGINES, Engine, named
from fewbits.errors import InputError
from fewbits.measurement.interval import Drop
from fewbits.measurement.records import Accuracy, Measurement, Timing
from fewbits.quantization.recipe import Recipe
from fewbits.selection.candidates import candidates
from fewbits.selection.decide import Verdict, decide, reference_of, why_not
from fewbits.selection.records import Budget, Candidate, Failed, Measured, Outcome, Refused

ROUNDS = 15


def candidate(format: str, engine: str = "openvino") -> Candidate:
    return Candidate(f"{engine}-{format}", engine, format, "f32", Recipe() if format == "int8" else None)


def drop_of(estimate: float, arm: float = 0.002, samples: int = 1000) -> Drop:
    return Drop(estimate, estimate - arm, estimate + arm, 0.95, "bootstrap", samples)


def measured(
    format: str,
    ms: float | list[float],
    *,
    engine: str = "openvino",
    fps: float = 100.0,
    size: int = 1000,
    drop: float | Drop | None = 0.0,
) -> Measured:
    """A candidate with this latency in every round (or these, one a round), and no noise where one number is given."""
    rounds = np.full(ROUNDS, float(ms)) if isinstance(ms, (int, float)) else np.array(ms, np.float64)
    timing = Timing(rounds, rounds, np.full(ROUNDS, fps))
    if isinstance(drop, (int, float)):
        drop = drop_of(drop)
    accuracy = Accuracy("top1", 0.75, 1000, 0.99, None if format == "fp32" and engine == "openvino" else drop)
    return Measured(
        candidate(format, engine), format, Measurement(timing, size, accuracy=accuracy), (f"{format}.onnx",)
    )


def chosen(outcomes: list[Outcome], **budget: object) -> Verdict:
    """The verdict; whatever the order of the outcomes, it is the same and has a sentence for each of them."""
    verdict = decide(outcomes, Budget(**budget))  # type: ignore[arg-type]
    backwards = decide(outcomes[::-1], Budget(**budget))  # type: ignore[arg-type]
    assert (backwards.chosen, backwards.reason, backwards.rejected) == (
        verdict.chosen,
        verdict.reason,
        verdict.rejected,
    )
    assert verdict.chosen not in verdict.rejected
    for outcome in outcomes:
        assert why_not(outcome, verdict), f"{outcome.candidate.name} has no sentence"
    return verdict


def test_the_fastest_inside_the_budget_wins() -> None:
    verdict = chosen([measured("fp32", 10), measured("bf16", 6), measured("int8", 4, drop=0.005)])
    assert (verdict.chosen, verdict.reference) == ("openvino-int8", "openvino-fp32")
    assert verdict.reason.startswith("openvino-int8 is 2.50 times (2.50 to 2.50) as fast as openvino-fp32 at batch 1")
    assert "loses 0.50 points (95% interval of the drop 0.30 to 0.70)" in verdict.reason
    assert verdict.rejected.keys() == {"openvino-bf16"}
    assert "openvino-int8 is 1.50 times (1.50 to 1.50) faster" in verdict.rejected["openvino-bf16"]


def test_too_much_lost_is_rejected_with_the_numbers() -> None:
    verdict = chosen([measured("fp32", 10), measured("bf16", 6), measured("int8", 1, drop=0.0234)], max_drop=0.01)
    assert verdict.chosen == "openvino-bf16"
    assert verdict.rejected["openvino-int8"] == (
        "loses 2.34 points (95% interval of the drop 2.14 to 2.54), more than the 1 allowed"
    )


def partly(outcome: Measured, samples: int) -> Measured:
    """The same, judged on so many samples only."""
    accuracy = outcome.measurement.accuracy
    assert accuracy is not None
    return replace(outcome, measurement=replace(outcome.measurement, accuracy=replace(accuracy, samples=samples)))


def test_a_drop_that_a_part_of_the_samples_leaves_open_is_no_reason() -> None:
    """What rules these out is their speed; a drop that lies wholly above the budget is a reason on any part."""
    open_, clear = drop_of(0.02, 0.05), drop_of(0.2, 0.05)
    fast, fp32 = measured("int8", 4, drop=0.005), measured("fp32", 10)
    verdict = chosen([fp32, fast, partly(measured("bf16", 6, drop=open_), 100)])
    assert verdict.rejected["openvino-bf16"] == (
        "openvino-int8 is 1.50 times (1.50 to 1.50) faster; its drop was not pursued beyond 100 samples"
    )
    verdict = chosen([fp32, fast, partly(measured("bf16", 6, drop=clear), 100)])
    assert "more than the 1 allowed" in verdict.rejected["openvino-bf16"]
    verdict = chosen([fp32, partly(measured("bf16", 12, drop=open_), 100)])
    assert verdict.rejected["openvino-bf16"].startswith("not faster than openvino-fp32")
    verdict = chosen([fp32, fast, partly(measured("bf16", 12, drop=drop_of(0.0, 0.05)), 100)])
    assert verdict.rejected["openvino-bf16"].startswith("not faster than openvino-fp32")
    # Cut off by a time budget: it is the fastest, and not chosen on such evidence.
    verdict = chosen([fp32, partly(measured("bf16", 6, drop=open_), 100)])
    assert verdict.chosen == "openvino-fp32"
    assert "more than the 1 allowed" in verdict.rejected["openvino-bf16"]


def test_what_executes_as_fp32_is_not_chosen_for_speed() -> None:
    verdict = chosen([measured("fp32", 10, size=4000), measured("fp16", 9.9, size=2000)])
    assert verdict.chosen == "openvino-fp32"
    assert verdict.rejected["openvino-fp16"].startswith("not faster than openvino-fp32")
    limited = [measured("fp32", 10, size=4000), measured("fp16", 9.9, size=2000)]
    assert chosen(limited, max_size_bytes=3000).chosen == "openvino-fp16"


@pytest.mark.parametrize(("drop", "inside"), [(0.01, True), (0.0100001, False), (-0.02, True)])
def test_the_budget_is_inclusive_and_gains_are_welcome(drop: float, inside: bool) -> None:
    verdict = chosen([measured("fp32", 10), measured("int8", 4, drop=drop)], max_drop=0.01)
    assert (verdict.chosen == "openvino-int8") == inside
    assert ("gains 2.00 points" in verdict.reason) == (drop < 0)


@pytest.mark.parametrize(
    ("arm", "says"),
    [(0.004, "proven inside the 1 allowed"), (0.006, "not proven: 1000 samples do not exclude more, about ")],
)
def test_the_reason_says_whether_it_is_proven(arm: float, says: str) -> None:
    verdict = chosen([measured("fp32", 10), measured("int8", 4, drop=drop_of(0.005, arm))], max_drop=0.01)
    assert says in verdict.reason
    assert ("not proven" in verdict.reason) == ("not proven" in says)


NOISE = np.array([1.3, 0.8, 1.1, 0.9, 1.2, 0.7, 1.05, 0.95, 1.15, 0.85, 1.0, 1.25, 0.75, 1.02, 0.98])


@pytest.mark.parametrize("ms", [10, 11, list(10 * NOISE * 0.99)])
def test_what_is_not_faster_than_fp32_is_never_chosen(ms: float | list[float]) -> None:
    verdict = chosen([measured("fp32", list(np.full(ROUNDS, 10.0))), measured("int8", ms)])
    assert verdict.chosen == "openvino-fp32"
    assert verdict.rejected["openvino-int8"].startswith("not faster than openvino-fp32: ")
    assert "openvino-fp32 stays" in verdict.reason


def test_rounds_are_compared_in_pairs() -> None:
    """The machine's mood swings by half, but in every single round INT8 is a twentieth faster."""
    mood = 10 * NOISE
    verdict = chosen([measured("fp32", list(mood)), measured("int8", list(mood / 1.05))])
    assert verdict.chosen == "openvino-int8"
    assert "1.05 times (1.05 to 1.05)" in verdict.reason


def test_within_the_noise_the_simplest_format_wins() -> None:
    outcomes = [
        measured("fp32", 10),
        measured("mixed", list(4.8 * NOISE)),
        measured("int8", list(4.9 * NOISE[::-1])),
        measured("bf16", list(5.0 * np.roll(NOISE, 4))),
    ]
    verdict = chosen(outcomes)
    assert verdict.chosen == "openvino-bf16"
    assert "cannot be told from openvino-bf16's" in verdict.rejected["openvino-int8"]
    assert "the simpler format" in verdict.rejected["openvino-mixed"]
    # Without the noise the fastest wins.
    clear = [measured("fp32", 10), measured("mixed", 4.8), measured("int8", 4.9), measured("bf16", 5.0)]
    assert chosen(clear).chosen == "openvino-mixed"


@pytest.mark.parametrize(
    ("ms", "winner", "loser", "why"),
    [
        (5.0, "onnxruntime-int8", "openvino-int8", "loses less"),
        (5.1, "openvino-int8", "onnxruntime-int8", "quicker in the median"),
    ],
)
def test_of_one_format_the_quicker_wins_and_of_two_alike_the_one_that_loses_less(
    ms: float, winner: str, loser: str, why: str
) -> None:
    """The noise hides which of the two is quicker."""
    outcomes = [
        measured("fp32", 10),
        measured("int8", list(5 * NOISE), drop=0.006),
        measured("int8", list(ms * NOISE[::-1]), engine="onnxruntime", drop=0.001),
    ]
    verdict = chosen(outcomes)
    assert verdict.chosen == winner
    assert why in verdict.rejected[loser]


def test_candidates_over_the_latency_limit_are_out() -> None:
    outcomes = [measured("fp32", 10), measured("bf16", 6), measured("int8", 4)]
    verdict = chosen(outcomes, max_latency_ms=5)
    assert verdict.chosen == "openvino-int8"
    assert verdict.rejected["openvino-bf16"] == "takes 6.00 ms, more than the 5 ms allowed"
    verdict = chosen(outcomes, max_latency_ms=3)
    assert verdict.chosen is None
    assert "nothing fits the budget" in verdict.reason
    assert "takes 10.00 ms, more than the 3 ms allowed" in verdict.reason
    assert verdict.rejected.keys() == {"openvino-fp32", "openvino-bf16", "openvino-int8"}


def test_candidates_over_the_size_limit_are_out() -> None:
    outcomes = [measured("fp32", 10, size=4000), measured("bf16", 4, size=4000), measured("int8", 6, size=1000)]
    verdict = chosen(outcomes, max_size_bytes=2000)
    assert verdict.chosen == "openvino-int8"
    assert verdict.rejected["openvino-bf16"] == "is 4000 bytes, more than the 2000 allowed"


@pytest.mark.parametrize("budget", [{"max_size_bytes": 2000}, {"max_latency_ms": 9.95}])
def test_where_fp32_is_over_a_limit_it_need_not_be_beaten(budget: dict[str, float]) -> None:
    """INT8 is inside every limit, so saying that nothing fits would be wrong; it is only no clear gain."""
    slow = measured("fp32", [10.0] * ROUNDS, size=4000)
    fits = measured("int8", [*np.full(8, 9.9), *np.full(ROUNDS - 8, 10.1)], size=1000)
    assert chosen([slow, fits], **budget).chosen == "openvino-int8"


def test_a_latency_that_was_withheld_meets_no_latency_limit() -> None:
    """In latency mode the engine computed something else, so its time there is blank (NaN)."""
    fast = measured("int8", 4, fps=300)
    blank = Measured(
        fast.candidate,
        fast.formats,
        Measurement(fast.measurement.timing.without("latency"), 1000, accuracy=fast.measurement.accuracy),
        (),
    )
    outcomes = [measured("fp32", 4.5, fps=100), blank]
    assert chosen(outcomes, objective="throughput").chosen == "openvino-int8"
    assert chosen(outcomes, objective="throughput", max_latency_ms=5).chosen == "openvino-fp32"


def test_throughput_is_judged_by_throughput() -> None:
    outcomes = [measured("fp32", 10, fps=100), measured("bf16", 2, fps=150), measured("int8", 9, fps=300)]
    verdict = chosen(outcomes, objective="throughput")
    assert verdict.chosen == "openvino-int8"
    assert "3.00 times (3.00 to 3.00) the throughput of openvino-fp32 with all cores busy" in verdict.reason


def test_size_is_judged_by_size() -> None:
    outcomes = [
        measured("fp32", 10, size=4000),
        measured("bf16", 2, size=4000),
        measured("fp16", 12, size=2000),
        measured("int8", 20, size=1000),
    ]
    verdict = chosen(outcomes, objective="size")
    assert verdict.chosen == "openvino-int8"
    assert "4.00 times smaller than openvino-fp32" in verdict.reason
    assert verdict.rejected["openvino-bf16"].startswith("not smaller than openvino-fp32")
    assert "openvino-int8 is 2.00 times" in verdict.rejected["openvino-fp16"]


def test_the_best_fp32_is_the_reference() -> None:
    slow = measured("fp32", 12, engine="onnxruntime", fps=500)
    fast = measured("fp32", 10, fps=100)
    assert reference_of([slow, fast], Budget()) is fast
    assert reference_of([slow, fast], Budget(objective="throughput")) is slow
    verdict = chosen([slow, fast, measured("int8", 11, engine="onnxruntime")])
    assert verdict.chosen == "openvino-fp32"
    assert verdict.rejected.keys() == {"onnxruntime-fp32", "onnxruntime-int8"}


def test_without_fp32_nothing_is_chosen_and_all_say_why() -> None:
    outcomes = [
        Failed(candidate("fp32"), "the engine crashed"),
        Refused(candidate("bf16"), "no BF16 arithmetic here"),
        measured("int8", 4, engine="onnxruntime"),
    ]
    verdict = chosen(outcomes)
    assert (verdict.chosen, verdict.reference) == (None, "")
    assert "FP32 could not be measured" in verdict.reason
    assert verdict.rejected["openvino-fp32"] == "the engine crashed"


def test_failed_and_refused_keep_their_reasons() -> None:
    outcomes = [
        measured("fp32", 10),
        Failed(candidate("int8"), "the engine crashed"),
        Refused(candidate("bf16"), "no BF16 arithmetic here"),
    ]
    verdict = chosen(outcomes)
    assert verdict.chosen == "openvino-fp32"
    assert verdict.rejected == {"openvino-int8": "the engine crashed", "openvino-bf16": "no BF16 arithmetic here"}


def test_unknown_accuracy_is_never_chosen() -> None:
    verdict = chosen([measured("fp32", 10), measured("int8", 1, drop=None)])
    assert verdict.chosen == "openvino-fp32"
    assert "accuracy could not be measured" in verdict.rejected["openvino-int8"]


@pytest.mark.parametrize("budget", [{"max_drop": -0.1}, {"max_drop": 1.5}, {"confidence": 1.0}, {"confidence": 0}])
def test_impossible_budgets_are_refused(budget: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(budget)).replace("_", "-")):
        Budget(**budget)


class Plain(Engine):
    """An engine that only computes FP32."""

    name = "plain"
    version = "1"
    devices = compile = profile = None  # type: ignore[assignment]

    def refuses(self, precision: str, device: str) -> str | None:
        return None if precision == "f32" else f"no {precision} on this {device}"


class Modern(Plain):
    name = "modern"

    def refuses(self, precision: str, device: str) -> str | None:
        return None


def test_every_format_of_every_engine_is_a_candidate_or_refused() -> None:
    recipe = Recipe(method="mse")
    found, refused = candidates([Plain(), Modern()], ["int8", "bf16", "fp16", "mixed"], "CPU", recipe)
    assert [(c.name, c.format, c.precision, c.recipe) for c in found] == [
        ("plain-fp32", "fp32", "f32", None),
        ("modern-fp32", "fp32", "f32", None),
        ("plain-fp16", "fp16", "f32", None),
        ("modern-fp16", "fp16", "f16", None),
        ("modern-bf16", "bf16", "bf16", None),
        ("plain-int8", "int8", "f32", recipe),
        ("modern-int8", "int8", "f32", recipe),
        ("modern-int8+bf16", "mixed", "bf16", recipe),
    ]
    assert {r.candidate.name: r.reason for r in refused} == {
        "plain-bf16": "no bf16 on this CPU",
        "plain-int8+bf16": "INT8 with BF16 for the rest: no bf16 on this CPU",
    }


def test_formats_are_filtered_but_fp32_is_always_there() -> None:
    found, refused = candidates([Modern()], ["int8"], "CPU", Recipe())
    assert [c.format for c in found] == ["fp32", "int8"]
    assert refused == []
    assert [c.format for c in candidates([Modern()], [], "CPU", Recipe())[0]] == ["fp32"]


def test_unknown_formats_and_engines_are_refused_with_the_list() -> None:
    with pytest.raises(InputError, match=r"--formats: unknown format 'int4'.*fp32, fp16, bf16, int8, mixed"):
        candidates([Modern()], ["int8", "int4"], "CPU", Recipe())
    with pytest.raises(InputError, match=r"--engine: unknown engine 'tvm'.*all, openvino, onnxruntime"):
        named("tvm")
    assert named("all") == tuple(ENGINES.values())
    assert named("openvino") == (ENGINES["openvino"],)
