"""The Pareto front of made-up measurements."""

from __future__ import annotations

from test_decide import candidate, measured

from fewbits.selection.front import pareto_front
from fewbits.selection.records import Failed, Measured, Refused


def test_whoever_is_best_at_something_is_on_the_front() -> None:
    outcomes = [
        measured("fp32", 10, fps=100, size=1000),
        measured("fp16", 10, fps=100, size=500, drop=0.001),
        measured("bf16", 5, fps=200, size=1000, drop=0.002),
        measured("int8", 4, fps=300, size=300, drop=0.01),
        measured("mixed", 4.5, fps=250, size=400, drop=0.02),
        Refused(candidate("bf16", "onnxruntime"), "no"),
        Failed(candidate("int8", "onnxruntime"), "no"),
    ]
    assert pareto_front(outcomes) == ("openvino-fp32", "openvino-fp16", "openvino-bf16", "openvino-int8")


def test_equals_stay_together() -> None:
    assert len(pareto_front([measured("fp32", 10), measured("fp16", 10), measured("bf16", 11)])) == 2


def test_what_is_not_known_counts_as_worst() -> None:
    withheld = measured("int8", 4, fps=float("nan"))
    assert pareto_front([measured("fp32", 10), withheld]) == ("openvino-fp32", "openvino-int8")
    assert pareto_front([measured("bf16", 4), withheld]) == ("openvino-bf16",)


def test_without_accuracy_nothing_is_gained_there() -> None:
    plain = measured("fp32", 10)
    unjudged = measured("bf16", 10)
    unjudged = Measured(
        unjudged.candidate, "bf16", type(unjudged.measurement)(unjudged.measurement.timing, 1000), unjudged.files
    )
    assert pareto_front([plain, unjudged]) == ("openvino-fp32",)
