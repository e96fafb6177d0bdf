"""Every engine computes what the ONNX reference evaluator computes, in both modes and in every slot."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fewbits.engines import ENGINES, ORACLE, Engine, Mode, Options, Session
from fewbits.engines.openvino import kernel_format
from fewbits.errors import EngineError, InputError, UnsupportedError
from fewbits.graph.files import save_onnx
from fewbits.numerics import sqnr_db
from models import NETWORKS, Arrays, conv_relu_conv, dynamic_batch, feed, network, oracle, residual, two_outputs

ALL = [*ENGINES.values(), ORACLE]
MODES: tuple[Mode, ...] = ("latency", "throughput")
# FP32 sums in another order: 100 dB and more. One operator left out or a doubled scale: below 10 dB.
FP32_DB = 90.0

engines = pytest.mark.parametrize("engine", ALL, ids=lambda engine: engine.name)
fast_engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)


def run_all_slots(session: Session, inputs: list[Arrays]) -> list[list[Arrays]]:
    """Every slot runs every sample while the others are busy."""

    def work(slot: int) -> list[Arrays]:
        return [{k: v.copy() for k, v in session.run(sample, slot).items()} for sample in inputs]

    with ThreadPoolExecutor(session.slots) as pool:
        return list(pool.map(work, range(session.slots)))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mode", MODES)
@fast_engines
def test_fp32_is_what_the_model_says(engine: Engine, mode: Mode, name: str) -> None:
    model = NETWORKS[name]()
    inputs = [feed(model, seed) for seed in range(3)]
    truth = [oracle(model, sample) for sample in inputs]
    session = engine.compile(model, Options(mode=mode))
    for outputs in run_all_slots(session, inputs):
        for expected, got in zip(truth, outputs, strict=True):
            assert got.keys() == expected.keys()
            for key, array in expected.items():
                assert got[key].dtype == np.float32
                assert sqnr_db(array, got[key]) > FP32_DB
    session.close()


def test_the_oracle_is_the_reference_evaluator() -> None:
    model = two_outputs()
    outputs = ORACLE.compile(model, Options()).run(feed(model))
    for name, array in oracle(model, feed(model)).items():
        np.testing.assert_array_equal(outputs[name], array)


@pytest.mark.parametrize("mode", MODES)
@engines
def test_borders_slots_and_files(engine: Engine, mode: Mode, tmp_path: Path) -> None:
    model = dynamic_batch()
    save_onnx(model, tmp_path / "m.onnx")
    session = engine.compile(tmp_path / "m.onnx", Options(mode=mode, threads=2))
    assert [(s.name, s.single, s.dtype) for s in session.inputs] == [("x", (1, 3, 8, 8), np.dtype(np.float32))]
    assert [(s.name, s.single, s.dtype) for s in session.outputs] == [("y", (1, 10), np.dtype(np.float32))]
    assert session.slots == 1 or (mode == "throughput" and session.slots == 2)
    assert session.run(feed(model), session.slots - 1)["y"].shape == (1, 10)
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in session.settings.items())
    assert session.settings or engine is ORACLE


@fast_engines
def test_threads_reach_the_engine(engine: Engine) -> None:
    one, two = (engine.compile(conv_relu_conv(), Options(mode="throughput", threads=n)) for n in (1, 2))
    assert (one.slots, two.slots) == (1, 2)
    assert one.settings != two.settings


@engines
def test_samples_may_be_views_in_any_memory_order(engine: Engine) -> None:
    model = conv_relu_conv()
    image = np.random.default_rng(4).normal(size=(8, 8, 3)).astype(np.float32)
    view = image.transpose(2, 0, 1)[None]
    view.setflags(write=False)
    assert not view.flags.c_contiguous
    expected = oracle(model, {"x": np.ascontiguousarray(view)})["y"]
    got = engine.compile(model, Options()).run({"x": view})["y"]
    assert sqnr_db(expected, got) > FP32_DB


BAD_FEEDS = {
    "nothing": {},
    "another name": {"z": np.zeros((1, 3, 8, 8), np.float32)},
    "another shape": {"x": np.zeros((1, 3, 9, 9, 2), np.float32)},
    "another size": {"x": np.zeros((1, 3, 4, 4), np.float32)},
}


@pytest.mark.parametrize("what", BAD_FEEDS)
@fast_engines
def test_a_feed_that_does_not_fit_is_an_engine_error(engine: Engine, what: str) -> None:
    session = engine.compile(residual(), Options())
    session.run(feed(residual()))  # nothing of an earlier run may stand in for what is missing
    with pytest.raises(EngineError) as caught:
        session.run(BAD_FEEDS[what])
    assert "\n" not in str(caught.value)


@engines
def test_what_cannot_be_compiled_is_an_engine_error(engine: Engine, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model at all")
    for path in (bad, tmp_path / "missing.onnx"):
        with pytest.raises(EngineError) as caught:
            engine.compile(path, Options())
        assert "\n" not in str(caught.value)
    if engine is not ORACLE:
        unknown = network("g (float[2] x) => (float[2] y) { y = Relu(x) }")
        unknown.graph[0].op_type = "Frobnicate"
        with pytest.raises(EngineError):
            engine.compile(unknown, Options())


@engines
def test_unknown_devices_are_refused_with_the_list(engine: Engine) -> None:
    have = engine.devices()
    engine.check_device(have[0])
    with pytest.raises(InputError, match="FPGA") as caught:
        engine.check_device("FPGA")
    assert all(name in str(caught.value) for name in have)
    assert caught.value.where == "--device"


@pytest.mark.parametrize("device", ["CPU", "cpu"])
@fast_engines
def test_a_device_that_passes_the_check_compiles(engine: Engine, device: str) -> None:
    try:
        engine.check_device(device)
    except InputError:
        return  # being strict about capitals is fine as well
    model = conv_relu_conv()
    assert engine.compile(model, Options(device=device)).run(feed(model))["y"].shape == (1, 5, 6, 6)


@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
@engines
def test_a_precision_runs_or_is_refused_with_a_reason(engine: Engine, precision: str) -> None:
    """Compiling in a precision the engine would silently replace must fail."""
    model = conv_relu_conv()
    options = Options(precision=precision)
    reason = engine.refuses(precision, "CPU")
    if reason is None:
        truth = oracle(model, feed(model))["y"]
        got = engine.compile(model, options).run(feed(model))["y"]
        assert sqnr_db(truth, got) > (FP32_DB if precision == "f32" else 25.0)
        assert precision == "f32" or sqnr_db(truth, got) < FP32_DB, "it was computed in FP32"
    else:
        assert precision != "f32"
        assert len(reason) > 20
        with pytest.raises(UnsupportedError):
            engine.compile(model, options)


@fast_engines
def test_fp32_executes_no_other_format(engine: Engine) -> None:
    model = residual()
    shares = engine.profile(model, Options(), feed(model)).shares()
    assert shares["f32"] > 0.5
    assert not shares.keys() & {"bf16", "f16", "i8"}
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


@fast_engines
def test_bf16_executes_bf16_where_it_is_offered(engine: Engine) -> None:
    if engine.refuses("bf16", "CPU") is None:
        model = residual()
        assert engine.profile(model, Options(precision="bf16"), feed(model)).shares().get("bf16", 0) > 0


def test_kernel_names_tell_the_format() -> None:
    names = ("brgconv_avx512_1x1_I8", "jit_avx512_bf16", "brgemm_avx512_amx_FP16", "jit_gemm_f32", "ref_any", "")
    assert [kernel_format(name) for name in names] == ["i8", "bf16", "f16", "f32", "other", "other"]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
def test_inputs_and_outputs_are_called_what_the_file_calls_them(engine: Engine) -> None:
    """Padding by nothing at the front, a factor of one at the end: both go, and their values have two names then."""
    model = network(
        """g (float[1,2,3,3] b_in) => (float[1,2,3,3] b_out) {
             a_in = Pad(b_in, pads)
             c_out = Relu(a_in)
             b_out = Mul(c_out, one) }""",
        pads=np.zeros(8, np.int64),
        one=np.ones(1, np.float32),
    )
    session = engine.compile(model, Options())
    assert ([spec.name for spec in session.inputs], [spec.name for spec in session.outputs]) == (["b_in"], ["b_out"])
    x = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3) - 9
    np.testing.assert_array_equal(session.run({"b_in": x})["b_out"], np.maximum(x, 0))


@engines
def test_inputs_stay_as_they_are(engine: Engine) -> None:
    """With free sizes and a pair of casts OpenVINO writes to an array it was lent in the run before."""
    model = network("g (float[N,4,6] x) => (float[N,4,6] y) { h = Cast<to=10>(x)  y = Cast<to=1>(h) }")
    session = engine.compile(model, Options(shapes=()))
    rng = np.random.default_rng(0)
    given = [rng.standard_normal((size, 4, 6)).astype(np.float32) for size in (1, 1, 3, 1, 1)]
    before = [x.copy() for x in given]
    for x in given:
        session.run({"x": x})
    for x, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("size", [3, 5])
def test_the_oracle_normalizes_every_channel_by_its_neighbours(size: int) -> None:
    """The reference evaluator's own LRN leaves all channels but the first as they are."""
    text = f"g (float[1,7,2,2] x) => (float[1,7,2,2] y) {{ y = LRN<size={size}, alpha=0.5, beta=0.75, bias=1.0>(x) }}"
    model = network(text)
    x = feed(model)["x"]
    by_hand = np.empty_like(x)
    for c in range(7):
        near = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        by_hand[:, c] = x[:, c] / (1 + 0.5 / size * np.square(near).sum(axis=1)) ** 0.75
    for engine in (ORACLE, *ENGINES.values()):
        found = engine.compile(model, Options()).run({"x": x})["y"]
        np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)
