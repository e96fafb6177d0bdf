"""Conversion proves what it wrote: bounds, real input, FP16 inputs, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small import Net, Run

import fewbits
from fewbits.engines import ENGINES, Options
from fewbits.errors import EngineError
from fewbits.graph.vocabulary import vocabulary
from fewbits.measurement.deviation import Rounding, deviation, longest_sum, random_feeds
from fewbits.numerics import sqnr_db
from fewbits.numerics.tensors import TensorSpec
from fewbits.verbs import convert as verb
from models import conv_relu_conv, f32, feed, i64, network, oracle, proto


def save(model: ir.Model, path: Path) -> Path:
    onnx.save(ir.to_proto(model), str(path))
    return path


def test_the_deviation_on_random_and_on_real_input_is_reported(net: Net, cli: Run, tmp_path: Path) -> None:
    arguments = ("convert", net.model, "--to", "fp16", "--data", net.test, "--samples", 5, "-o", tmp_path / "o.onnx")
    found = cli(*arguments, "--json").json["deviations"]
    assert [(one["inputs"], one["samples"]) for one in found] == [("random", 3), ("data", 5)]
    assert {one["output"] for one in found} == {"logits"}
    assert all(40 < one["sqnr_db"] < 90 and 0 < one["max_abs"] < 0.1 for one in found)
    said = " ".join(cli(*arguments).out.split())
    assert "on 3 random inputs: " in said
    assert "on 5 samples of the data: " in said


@pytest.mark.parametrize(("to", "code", "fix"), [("fp32", 1, "report"), ("fp16", 2, "bf16"), ("bf16", 2, "fp32")])
def test_a_model_that_computes_something_else_is_not_written(
    to: str, code: int, fix: str, net: Net, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer's weights doubled behind the pipeline's back: near enough for a cosine, not for this."""
    original = verb._to

    def doubled(model: ir.Model, *args: str, **options: bool) -> ir.Model:
        made: ir.Model = original(model, *args, **options)
        name = next(n for n, v in made.graph.initializers.items() if len(v.shape or ()) == 4)
        value = made.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() * 2, name=name)
        return made

    monkeypatch.setattr(verb, "_to", doubled)
    ran = cli("convert", net.model, "--to", to, "-o", tmp_path / "o.onnx")
    assert ran.code == code
    assert "by more than rounding" in ran.last
    assert fix in ran.last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scales", [(1e-9, 1, 1e9), (3e3, 3e3, 1e-4)], ids=["underflow", "overflow"])
def test_what_fp16_loses_is_refused_in_one_line(scales: tuple[float, ...], cli: Run, tmp_path: Path) -> None:
    text = """g (float[1,4] x) => (float[1,4] y) {
        a = Mul(x, one)  b = Relu(a)  c = Mul(b, two)  d = Relu(c)  y = Mul(d, three) }"""
    path = save(network(text, **dict(zip(("one", "two", "three"), map(f32, scales), strict=True))), tmp_path / "m.onnx")
    ran = cli("convert", path, "--to", "fp16", "-o", tmp_path / "o.onnx")
    assert (ran.code, (tmp_path / "o.onnx").exists()) == (2, False)
    assert "convert to bf16 or fp32" in ran.last
    assert cli("convert", path, "--to", "bf16", "-o", tmp_path / "o.onnx").code == 0


def test_a_network_that_amplifies_rounding_is_told_from_one_that_is_wrong(cli: Run, tmp_path: Path) -> None:
    """w0 and w1 nearly cancel: what rounding does to their difference is not the conversion's fault."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(64, 64)).astype(np.float32)
    near = (w + rng.normal(0, 2e-3, w.shape)).astype(np.float32)
    text = "g (float[1,64] x) => (float[1,64] y) { a = MatMul(x, w0)  b = MatMul(x, w1)  y = Sub(a, b) }"
    path = save(network(text, w0=w, w1=near), tmp_path / "m.onnx")
    ran = cli("convert", path, "--to", "fp16", "-o", tmp_path / "o.onnx", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["sqnr_db"] < 40
    assert "amplifies rounding" in ran.err


@pytest.mark.parametrize("name", ["o.onnx", "o.xml"])
def test_half_io(name: str, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / name
    assert cli("convert", net.model, "--to", "fp16", "--half-io", "-o", out).code == 0
    session = ENGINES["onnxruntime" if name == "o.onnx" else "openvino"].compile(out, Options())
    assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {np.dtype(np.float16)}
    if name == "o.onnx":
        assert "Cast" not in {node.op_type for node in onnx.load(out).graph.node}


@pytest.mark.parametrize("to", ["fp32", "bf16"])
def test_half_io_is_for_fp16(to: str, net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli("convert", net.model, "--to", to, "--half-io", "-o", tmp_path / "o.onnx")
    assert (ran.code, "--to fp16" in ran.last) == (2, True)


def test_half_io_where_fp32_is_read_and_written_too(tmp_path: Path) -> None:
    model = network(
        """g (float[1,6] x) => (float[1,6] s, float[1,6] y) {
             s = CumSum(x, axis)  h = MatMul(x, w)  y = Relu(h) }""",
        w=(6, 6),
        axis=np.array(1, np.int64),
    )
    out = tmp_path / "o.onnx"
    fewbits.convert(save(model, tmp_path / "m.onnx"), out=out, to="fp16", keep_io=False)
    made = onnx.load(out)
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*made.graph.input, *made.graph.output)}
    assert kinds == {"x": onnx.TensorProto.FLOAT16, "s": onnx.TensorProto.FLOAT, "y": onnx.TensorProto.FLOAT16}
    x = feed(model)
    got = oracle(made, {"x": x["x"].astype(np.float16)})
    for name, array in oracle(model, x).items():
        assert sqnr_db(array, got[name].astype(np.float32)) > 45


def test_an_old_opset_that_onnx_runtime_refuses_is_held_against_another_engine(tmp_path: Path) -> None:
    old = proto("g (float[1,4] x) => (float[1,4] y) { y = Add<broadcast=1>(x, k) }", opset=6, k=f32(1, 2, 3, 4))
    old.ir_version = 3
    old.graph.input.append(onnx.helper.make_tensor_value_info("k", onnx.TensorProto.FLOAT, [4]))
    onnx.save(old, tmp_path / "old.onnx")
    made = fewbits.convert(tmp_path / "old.onnx", out=tmp_path / "o.onnx")
    assert made.max_abs == 0
    assert "the original in OpenVINO" in made.truth


# --- the pieces -------------------------------------------------------------------------------------------------


def test_positions_stay_inside_every_table() -> None:
    model = network(
        """g (int64[1,5] ids, int64[1,5] kinds, int64[1,5] mask, float[1,5] x) => (float[1,5,4] y, float[1,5] z) {
             flat = Reshape(ids, shape)  a = Gather(words, flat)  b = Gather(small, ids)
             c = Gather<axis=1>(wide, kinds)
             m = Cast<to=1>(mask)  z = Mul(x, m)
             y = Add(b, b) }""",
        words=(30, 4),
        small=(7, 4),
        wide=(4, 11),
        shape=i64(5),
    )
    assert vocabulary(model) == {"ids": 7, "kinds": 11}
    specs = (
        TensorSpec("ids", (None, 50), np.dtype(np.int64)),
        TensorSpec("mask", (1, 50), np.dtype(np.int64)),
        TensorSpec("image", (1, 3, 9, 9), np.dtype(np.uint8)),
        TensorSpec("x", (1, 500), np.dtype(np.float32)),
    )
    one, other = random_feeds(specs, {"ids": 7}, 2)
    assert set(np.unique(one["ids"])) == set(range(7))
    assert set(np.unique(one["mask"])) == {0, 1}
    assert one["image"].max() > 200
    assert abs(float(one["x"].std()) - 1) < 0.2
    assert {name: (a.shape, a.dtype) for name, a in one.items()} == {s.name: (s.single, s.dtype) for s in specs}
    assert not np.array_equal(one["x"], other["x"])


def test_the_worst_output_speaks() -> None:
    expected = [{"big": np.full(1000, 100.0), "small": np.ones(3), "class": np.array([3])}]
    got = [{"big": np.full(1000, 100.1), "small": np.array([1, 1, 1.01]), "class": np.array([4])}]
    found = deviation("random", expected, got, whole_numbers=False)
    assert (found.output, found.samples) == ("small", 1)
    assert found.sqnr_db == pytest.approx(10 * math.log10(3 / 0.01**2))
    assert found.max_abs == pytest.approx(0.1)
    assert deviation("random", expected, got, whole_numbers=True).output == "class"
    with pytest.raises(EngineError, match="missing"):
        deviation("random", expected, [{}], whole_numbers=True)


def test_bounds_follow_from_the_format() -> None:
    model = conv_relu_conv()
    assert longest_sum(model) == 8 * 9
    fp32, fp16, bf16 = (Rounding.of(model).least_sqnr_db(to) for to in ("fp32", "fp16", "bf16"))
    assert fp16 - bf16 == pytest.approx(3 * 20 * math.log10(2))
    assert fp32 - fp16 == pytest.approx(13 * 20 * math.log10(2) - 10 * math.log10(72))
