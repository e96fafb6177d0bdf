"""``fewbits inspect`` as a person and a program read it, and what hazards mean to convert and choose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small import Net, Run

import fewbits
from models import f32, network, proto


def save(model: ir.Model, path: Path) -> Path:
    ir.save(model, path)
    return path


@pytest.fixture
def softplus(tmp_path: Path) -> Path:
    model = network(
        """g (float[1,8] x) => (float[1,8] y) {
             [first] a = MatMul(x, w)  [exp] e = Exp(a)  [plus] p = Add(e, one)  [log] l = Log(p)
             [head] y = MatMul(l, w) }""",
        one=f32(1),
        w=np.eye(8, dtype=np.float32),
    )
    return save(model, tmp_path / "softplus.onnx")


def rows(path: Path, scale: float) -> Path:
    """Twelve rows of eight numbers from 0 to ``scale``."""
    np.savez(path, x=np.linspace(0, scale, 96, dtype=np.float32).reshape(12, 8)[::-1])
    return path


def test_the_terminal_says_it_in_80_columns(net: Net, cli: Run) -> None:
    ran = cli("inspect", net.model, "--data", net.calibration, "--samples", 4)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    for part in ("opset 17", "image float32 [N,3,32,32]", "Conv 4", "openvino: 100.0%", "onnxruntime: 100.0%"):
        assert part in ran.out, part
    assert "no hazard found (ranges from 4 samples)" in ran.out
    assert "sound" in lines[-1]


def test_json_has_everything(net: Net, cli: Run) -> None:
    found = cli("inspect", net.model, "--json").json
    assert found["frontend"] == "ONNX"
    assert found["opset"] == found["read_as_opset"] == 17
    assert found["inputs"] == [{"name": "image", "shape": [None, 3, 32, 32], "type": "float32"}]
    assert found["operators"]["Conv"] == 4
    assert found["nodes"] == sum(found["operators"].values())
    # Convolutions on 16x16, 8x8, 8x8, 4x4 outputs, and the linear layer.
    convolved = 256 * 32 * 27 + 64 * 64 * 288 + 64 * 64 * 576 + 16 * 128 * 576
    assert found["macs"] == convolved + 128 * 10
    assert found["parameter_bytes"] == 4 * found["parameters"]
    for entry in found["int8"]:
        assert entry["share_of_macs"] > 0.99
    assert found["hazards"] == found["keep_fp32"] == []
    assert found["samples"] == 0
    assert found["fp16_run"]["survives"]


def test_a_hazard_is_named_confirmed_and_its_remedy_measured(softplus: Path, tmp_path: Path, cli: Run) -> None:
    ran = cli("inspect", softplus, "--data", rows(tmp_path / "x.npz", 15))
    assert ran.code == 0, ran.err
    assert "certain: exp (Exp), unsafe in FP16" in ran.out
    assert "confirmed by an FP16 run" in " ".join(ran.out.split())
    assert "exp is the first to overflow" in " ".join(ran.out.split())
    found = cli("inspect", softplus, "--data", rows(tmp_path / "x.npz", 15), "--json").json
    worst = found["hazards"][0]
    assert (worst["node"], worst["check"], worst["level"], worst["fp16"]) == (
        "exp",
        "exponentials",
        "certain",
        "certain",
    )
    assert worst["confirmed"] is True
    assert set(found["keep_fp32"]) == {"exp", "plus", "log"}
    assert not found["fp16_run"]["survives"]
    assert found["fp16_run"]["first_wild"]["node"] == "exp"
    assert found["mixed_run"]["sqnr_db"] > 40


def test_what_the_data_do_not_reach_is_not_confirmed(softplus: Path, tmp_path: Path, cli: Run) -> None:
    ran = cli("inspect", softplus, "--data", rows(tmp_path / "x.npz", 10.5))
    assert "not confirmed by an FP16 run" in " ".join(ran.out.split())
    without = cli("inspect", softplus, "--json").json
    assert [(h["node"], h["level"]) for h in without["hazards"]] == [("exp", "possible")]


def test_a_quantized_model_is_described(int8: Path, cli: Run) -> None:
    ran = cli("inspect", int8)
    assert ran.code == 0, ran.err
    assert "quantized already" in ran.out
    assert "QuantizeLinear" in ran.out


def test_free_sizes_are_said_and_nothing_is_run(tmp_path: Path, cli: Run) -> None:
    path = tmp_path / "free.onnx"
    onnx.save(proto("g (float[1,3,H,W] x) => (float[1,4,A,B] y) { y = Conv(x, w) }", w=(4, 3, 3, 3)), path)
    found = cli("inspect", path, "--json").json
    assert found["nodes_of_unknown_size"] == 1
    assert found["fp16_run"] is None
    ran = cli("inspect", path)
    assert ran.code == 0
    assert "unknown sizes" in ran.out


def test_wrong_input_is_one_line(tmp_path: Path, cli: Run) -> None:
    ran = cli("inspect", tmp_path / "none.onnx")
    assert ran.code == 2
    assert ran.err.strip().splitlines()[-1].startswith("fewbits: ")
    assert "no such file" in ran.err


def test_convert_keeps_the_unsafe_region_whole(softplus: Path, tmp_path: Path, cli: Run) -> None:
    out = tmp_path / "half.onnx"
    ran = cli("convert", softplus, "--to", "fp16", "-o", out)
    assert ran.code == 0, ran.err
    types = {n.op_type: n.outputs[0].dtype for n in fewbits.load(out).graph}
    assert types["Exp"] == types["Log"] == ir.DataType.FLOAT
    assert sum(n.op_type == "Cast" for n in fewbits.load(out).graph) == 4


def test_choose_warns_and_keeps_lost_weights_whole(tmp_path: Path, cli: Run) -> None:
    text = """g (float[1,8] x) => (float[1,8] y) {
        [first] a = MatMul(x, v)  p = Relu(a)  [faint] b = MatMul(p, w)  q = Relu(b)  [last] y = MatMul(q, u) }"""
    w = (np.random.default_rng(0).standard_normal((8, 8)) * 1e-9).astype(np.float32)
    path = save(network(text, v=(8, 8), w=w, u=(8, 8)), tmp_path / "faint.onnx")
    options = ("--formats", "fp32,fp16", "--engine", "onnxruntime", "-o", tmp_path / "run", "--json")
    ran = cli("choose", path, "--data", rows(tmp_path / "x.npz", 1), *options)
    assert ran.code == 0, ran.err
    assert any("fp16 certain: faint (MatMul)" in w and "it stays FP32" in w for w in ran.json["warnings"])
    assert "warning: fp16 certain: faint" in ran.err
    made = fewbits.load(tmp_path / "run" / "candidates" / "fp16.onnx")
    assert made.graph.initializers["w"].dtype == ir.DataType.FLOAT
    assert json.loads((tmp_path / "run" / "decision.json").read_text())["warnings"] == ran.json["warnings"]
    by_name = {entry["name"]: entry for entry in ran.json["candidates"]}
    assert by_name["onnxruntime-fp16"]["agreement"] == 1


def test_the_python_function_returns_the_record(softplus: Path) -> None:
    found = fewbits.inspect(softplus)
    assert found.facts.nodes == 5
    assert [f.node for f in found.findings] == ["exp"]
