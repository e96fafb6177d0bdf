"""Under a logarithm small magnitudes count as large ones do: what is multiplied there stays in floating point."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from tuning import MINMAX, distance_db, int8_db, planned

from fewbits.data import Sample
from fewbits.engines import ENGINES, Engine
from fewbits.quantization import placement
from fewbits.quantization.logarithms import REASON, before_logarithms
from fewbits.quantization.placement import place
from models import network

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
FRAMES, LENGTH, BINS, BANDS = 6, 64, 33, 12


def keyword_network() -> ir.Model:
    """Frames of sound → power spectrum by two products → bands → logarithm → two layers."""
    angle = 2 * np.pi * np.outer(np.arange(LENGTH), np.arange(BINS)) / LENGTH
    bands = np.abs(np.random.default_rng(1).normal(size=(BINS, BANDS)))
    return network(
        f"""g (float[1,{FRAMES},{LENGTH}] x) => (float[1,{FRAMES},4] y) {{
             [window] w = Mul(x, hann)
             [real] re = MatMul(w, cosines)  [imaginary] im = MatMul(w, sines)
             [r2] a = Mul(re, re)  [i2] b = Mul(im, im)  [power] p = Add(a, b)
             [bands] m = MatMul(p, mel)  [floor] f = Max(m, least)  [log] l = Log(f)
             [cosine] c = MatMul(l, w1)  r = Relu(c)  [last] y = MatMul(r, w2) }}""",
        hann=np.hanning(LENGTH).astype(np.float32),
        cosines=np.cos(angle).astype(np.float32),
        sines=np.sin(angle).astype(np.float32),
        mel=bands.astype(np.float32),
        least=np.array(1e-9, np.float32),
        w1=(BANDS, 16),
        w2=(16, 4),
    )


def sounds(count: int) -> list[Sample]:
    """Loud and quiet ones: their spectra span many orders of magnitude."""
    rng = np.random.default_rng(0)
    loudness = 10.0 ** rng.uniform(-4, 0, (count, 1, FRAMES, 1))
    drawn = (loudness * rng.normal(size=(count, 1, FRAMES, LENGTH))).astype(np.float32)
    return [Sample(f"s{i}", {"x": sound}) for i, sound in enumerate(drawn)]


@both
def test_what_a_logarithm_is_taken_of_stays_in_float_and_says_why(engine: Engine) -> None:
    placed = place(keyword_network(), MINMAX, engine.capability)
    kept = {name for name, reason in placed.skipped.items() if reason == REASON}
    assert {"real", "imaginary", "r2", "i2", "power", "bands"} <= kept
    assert {node.name for node in placed.compute} == {"cosine", "last"}
    assert placed.skipped["log"] != REASON


def test_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its spectrum in INT8 the network is lost."""
    source, drawn = keyword_network(), sounds(24)
    assert int8_db(source, drawn) > 30
    monkeypatch.setattr(placement, "before_logarithms", lambda model: {})
    assert "real" in planned(source, drawn).weights
    assert int8_db(source, drawn) < 15


@pytest.mark.parametrize("between", ["Relu", "Sigmoid", "Softmax", "Exp", "Tanh", "Erf"])
def test_an_activation_ends_it(between: str) -> None:
    """A network's own logarithm, as of probabilities, does not keep the whole network in float."""
    model = network(
        f"""g (float[1,8] x) => (float[1,4] y) {{
             [one] a = MatMul(x, w1)  b = {between}(a)  [two] c = MatMul(b, w2)  d = Abs(c)  y = Log(d) }}""",
        w1=(8, 16),
        w2=(16, 4),
    )
    assert "two" in (kept := {node.name for node in before_logarithms(model)})
    assert "one" not in kept


def test_a_network_without_logarithms_is_left_alone() -> None:
    model = network("g (float[1,8] x) => (float[1,4] y) { a = MatMul(x, w)  y = Abs(a) }", w=(8, 4))
    assert before_logarithms(model) == {}


def test_what_only_moves_values_is_passed_and_may_carry_eight_bits() -> None:
    model = network(
        """g (float[1,2,8] x) => (float[16,4] y) {
             [product] a = MatMul(x, w)  [shape] b = Reshape(a, to)  c = Abs(b)  y = Log(c) }""",
        w=(8, 32),
        to=np.array([16, 4], np.int64),
    )
    found = {node.name for node in before_logarithms(model)}
    assert "product" in found
    assert "shape" not in found
    assert distance_db(model, model, [Sample("s", {"x": np.ones((1, 2, 8), np.float32)})]) > 100
