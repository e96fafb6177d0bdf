"""Devices that are not here: what they cannot run is refused, and FP16 is emulated by really rounding to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from fewbits.devices.host import Host
from fewbits.devices.lookup import named
from fewbits.engines import TRIALS, Engine, Options
from fewbits.errors import EngineError
from fewbits.measurement.interval import Drop
from fewbits.measurement.records import Accuracy, Measurement, Timing
from fewbits.passes.rounded import in_fp16
from fewbits.passes.to_half import compute_fp16
from fewbits.quantization.recipe import Recipe
from fewbits.selection import emulation
from fewbits.selection.candidates import candidates
from fewbits.selection.emulation import check_rounding, decide_emulated, refused
from fewbits.selection.records import Budget, Candidate, Failed, Measured, Outcome
from models import network

MYRIAD = named("MYRIAD", Host("a", (), 1))
F16 = np.float16


def run(model: ir.Model, x: Any) -> np.ndarray:
    array = np.asarray(x, np.float32)
    return TRIALS.compile(model, Options()).run({"x": array})["y"].copy()


# Each goes wrong in FP16 between two operators; in FP32, or rounded at the ends only, it is right.
HAZARDS = {
    "overflow": ("g (float[1] x) => (float[1] y) { a = Mul(x, two)  y = Mul(a, half) }", [60000], [np.inf]),
    "absorbed": ("g (float[1] x) => (float[1] y) { a = Add(x, one)  y = Sub(a, x) }", [2048], [0]),
    "underflow": ("g (float[1] x) => (float[1] y) { a = Mul(x, x)  y = Sqrt(a) }", [1e-4], [0]),
    "exponential": ("g (float[1] x) => (float[1] y) { a = Exp(x)  y = Log(a) }", [12], [np.inf]),
    "matmul": ("g (float[1,1] x) => (float[1,1] y) { a = MatMul(x, big)  y = MatMul(a, small) }", [[256]], [[np.inf]]),
    "epsilon": ("g (float[1] x) => (float[1] y) { a = Add(x, tiny)  y = Div(one, a) }", [0], [np.inf]),
    "a product and its bias": (
        "g (float[1,1] x) => (float[1,1] y) { a = MatMul(x, unit)  b = Add(a, one)  y = Sub(b, x) }",
        [[2048]],
        [[0]],
    ),
}
NUMBERS = {
    "two": np.float32([2]),
    "half": np.float32([0.5]),
    "one": np.float32([1]),
    "tiny": np.float32([1e-12]),
    "big": np.float32([[1000]]),
    "small": np.float32([[0.001]]),
    "unit": np.float32([[1]]),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_every_operator_rounds_to_fp16(name: str) -> None:
    text, x, expected = HAZARDS[name]
    used = {k: v for k, v in NUMBERS.items() if f"{k})" in text or f"({k}," in text}
    model = network(text, **used)
    before = ir.to_proto(model).SerializeToString()
    half = in_fp16(model)
    assert ir.to_proto(model).SerializeToString() == before
    onnx.checker.check_model(ir.to_proto(half), full_check=True)
    np.testing.assert_array_equal(run(half, x), np.float32(expected))
    assert np.isfinite(run(model, x)).all()
    assert not np.array_equal(run(model, x), np.float32(expected))


def test_the_oracle_agrees_with_the_emulation_bit_by_bit() -> None:
    """Sums of two products are exact in FP32, so rounding is all there is to differ in."""
    from fewbits.engines import ORACLE

    text = "g (float[1,2] x) => (float[1,2] y) { a = Mul(x, w)  b = Add(a, v)  c = Relu(b)  y = Mul(c, c) }"
    rng = np.random.default_rng(5)
    model = network(text, w=rng.normal(0, 3, (1, 2)).astype(np.float32), v=rng.normal(0, 1, (1, 2)).astype(np.float32))
    half, true = in_fp16(model), ORACLE.compile(compute_fp16(model), Options())
    for _ in range(50):
        x = rng.normal(0, 10, (1, 2)).astype(np.float32)
        np.testing.assert_array_equal(run(half, x), true.run({"x": x})["y"])


def test_weights_inputs_and_outputs_are_fp16_numbers() -> None:
    model = network("g (float[1,3] x) => (float[1,3] y) { y = Mul(x, w) }", w=np.float32([[1 / 3, 1e6, 1e-9]]))
    x = np.float32([[0.1, 1, 1]])
    expected = (F16(0.1) * F16(1 / 3)).astype(np.float32)
    got = run(in_fp16(model), x)[0]
    assert got[0] == expected
    assert got[1] == 65504  # as OpenVINO stores a weight that FP16 cannot hold
    assert got[2] == 0
    assert in_fp16(model).graph.outputs[0].name == "y"


def test_scale_factors_are_no_numbers_to_round() -> None:
    text = 'g (float[1,1,3,3] x) => (float[1,1,4,4] y) { y = Resize <mode = "nearest"> (x, , s) }'
    model = network(text, s=np.float32([1, 1, 4 / 3 + 1e-4, 4 / 3 + 1e-4]))
    assert run(in_fp16(model), np.ones((1, 1, 3, 3))).shape == run(model, np.ones((1, 1, 3, 3))).shape


def test_an_engine_that_does_not_round_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    check_rounding()
    monkeypatch.setattr(emulation, "in_fp16", lambda model: model)
    with pytest.raises(EngineError, match="does not round to FP16"):
        check_rounding()


# --- the decision -----------------------------------------------------------------------------------------------


def pair(drop: float | None, size: int = 500) -> list[Outcome]:
    def one(name: str, format: str, size: int, drop: Drop | None) -> Measured:
        accuracy = Accuracy("top1", 0.9, 400, 1.0, drop)
        measurement = Measurement(Timing.unknown(), size, accuracy=accuracy)
        return Measured(Candidate(name, "e", format, "f32"), format, measurement, ())

    interval = None if drop is None else Drop(drop, drop - 0.004, drop + 0.004, 0.95, "bonett-price", 400)
    return [one("cpu-fp32", "fp32", 1000, None), one("myriad-fp16", "fp16", size, interval)]


def test_fp16_inside_the_budget_is_chosen_by_accuracy_and_size() -> None:
    chosen, reason, rejected = decide_emulated(pair(0.002), Budget(), MYRIAD)
    assert chosen == "myriad-fp16"
    for word in ("MYRIAD", "0.20 points", "50% of its size", "speed on MYRIAD is unknown"):
        assert word in reason
    assert "FP16 models only" in rejected["cpu-fp32"]


@pytest.mark.parametrize(
    ("drop", "budget", "why"),
    [
        (0.02, Budget(), "more than the 1 allowed"),
        (float("nan"), Budget(), "more than the 1 allowed"),
        (None, Budget(), "accuracy could not be measured"),
        (0.0, Budget(max_size_bytes=400), "500 bytes"),
    ],
)
def test_the_reference_never_stays(drop: float | None, budget: Budget, why: str) -> None:
    """FP32 cannot run there, so nothing is better than FP32."""
    chosen, reason, rejected = decide_emulated(pair(drop), budget, MYRIAD)
    assert chosen is None
    assert why in reason
    assert why in rejected["myriad-fp16"]


def test_a_failed_emulation_chooses_nothing() -> None:
    plain, half = pair(0.0)
    chosen, reason, _ = decide_emulated([plain, Failed(half.candidate, "it broke")], Budget(), MYRIAD)
    assert chosen is None
    assert "it broke" in reason


def test_refused_formats_carry_the_reason_of_the_table() -> None:
    found = refused(MYRIAD, ("fp32", "fp16", "int8", "mixed"))
    assert [r.candidate.name for r in found] == ["myriad-int8", "myriad-int8+bf16"]
    assert all(MYRIAD.fact("int8").reason in r.reason for r in found)


def test_no_speed_is_not_a_number() -> None:
    timing = Timing.unknown()
    assert timing.latency_ms["n"] == 0
    assert np.isnan(timing.latency_ms["p50"])
    assert np.isnan(timing.throughput_fps)


class Willing(Engine):
    """An engine that refuses nothing."""

    name = "willing"
    version = "1"
    devices = compile = profile = None  # type: ignore[assignment]

    def refuses(self, precision: str, device: str) -> str | None:
        return None


def test_what_the_device_cannot_run_is_no_candidate_whatever_the_engine_says() -> None:
    asked = ["fp16", "bf16", "int8", "mixed"]
    found, out = candidates([Willing()], asked, "GPU", Recipe(), {"bf16": "GPU: the plugin has none"})
    assert [c.name for c in found] == ["willing-fp32", "willing-fp16", "willing-int8"]
    assert {r.candidate.name: r.reason for r in out} == {
        "willing-bf16": "GPU: the plugin has none",
        "willing-int8+bf16": "INT8 with BF16 for the rest: GPU: the plugin has none",
    }
