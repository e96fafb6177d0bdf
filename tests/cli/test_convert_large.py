"""Models with weights beside the file: each weight is in memory once, whatever the format and the opset.

The model of more than 2 GB takes half a minute and its size in disk: it runs where ``FEWBITS_LARGE`` is set. Without it
a model of 0.16 GB goes the same way, the limit of one message lowered.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fewbits

# The lowered limits are for ONNX written whole and for trying FP16 arithmetic; the peak is the process's own.
CONVERT = """
import sys
import fewbits
import importlib
from fewbits.graph import files
from fewbits.measurement.memory import peak_rss_bytes
from fewbits.engines import ENGINES, Options
small, model, out, to, limit = sys.argv[1:]
made = importlib.import_module("fewbits.verbs.made")
files._ONE_MESSAGE_BYTES = int(limit)
made.MOST_BYTES = int(limit)
fewbits.convert(small, out=out, to=to)
before = peak_rss_bytes()
found = fewbits.convert(model, out=out, to=to)
print(found.size_before, found.size_after, before, peak_rss_bytes())
"""


def build(folder: Path, layers: int, width: int, opset: int = 17) -> Path:
    """Residual MatMuls [width, width]; of each matrix one row is there, the rest of the file is a hole."""
    folder.mkdir()
    size = width * width * 4
    weights, nodes, source = [], [], "x"
    with (folder / "weights.data").open("wb") as file:
        file.truncate(size * layers)
        for index in range(layers):
            file.seek(index * size)
            file.write(np.random.default_rng(index).normal(size=width).astype(np.float32).tobytes())
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.data"), ("offset", index * size), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [source, f"w{index}"], [f"m{index}"], f"product{index}"))
            nodes.append(helper.make_node("Add", [f"m{index}", "x"], [f"a{index}"], f"sum{index}"))
            source = f"a{index}"
    nodes.append(helper.make_node("Relu", [source], ["y"], "relu"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "large", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def converted(tmp_path: Path, to: str, name: str, layers: int, width: int, opset: int, limit: int) -> list[int]:
    """Bytes before and after, peak of a conversion that hardly has weights, peak of this one."""
    model, small = build(tmp_path / "large", layers, width, opset), build(tmp_path / "small", 2, 64, opset)
    out = tmp_path / name
    command = [sys.executable, "-c", CONVERT, *map(str, (small, model, out, to, limit))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if name.endswith(".onnx"):
        assert out.with_name(f"{name}.data").is_file() == (layers > 1)
        onnx.checker.check_model(str(out))
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize(
    ("to", "name", "opset", "share", "most"),
    [
        ("fp32", "out.onnx", 17, 1.0, 1.3),
        ("fp32", "out.onnx", 13, 1.0, 1.3),
        # ONNX Runtime holds the 16-bit weights (half) and the FP32 ones it makes of them (one), in an arena that grows
        # by powers of two: 1.5 to 2.1 times the file. Halves that stay in memory beside it are another half.
        ("fp16", "out.onnx", 17, 0.5, 2.5),
        ("bf16", "out.onnx", 17, 0.5, 2.5),
        ("fp16", "out.xml", 17, 0.5, 1.9),
    ],
)
def test_weights_are_held_once(to: str, name: str, opset: int, share: float, most: float, tmp_path: Path) -> None:
    before, after, idle, peak = converted(tmp_path, to, name, 12, 1800, opset, 1 << 26)
    assert before > 1.5e8
    assert after == pytest.approx(share * before, rel=0.02)
    assert peak - idle < most * before


@pytest.mark.skipif("FEWBITS_LARGE" not in os.environ, reason="needs 5 GB of disk and memory: set FEWBITS_LARGE")
@pytest.mark.parametrize(("to", "name"), [("fp32", "out.onnx"), ("fp16", "out.onnx"), ("fp16", "out.xml")])
def test_more_than_one_message_holds(to: str, name: str, tmp_path: Path) -> None:
    before, after, idle, peak = converted(tmp_path, to, name, 23, 5000, 17, 1_000_000_000)
    assert before > 1 << 31
    assert after == pytest.approx(before * (0.5 if to == "fp16" else 1), rel=0.02)
    assert peak - idle < (2.5 if to == "fp16" else 1.3) * before


def test_weights_beside_a_small_file_come_into_it(tmp_path: Path) -> None:
    model = build(tmp_path / "beside", 2, 64)
    out = tmp_path / "out.onnx"
    assert fewbits.convert(model, out=out).max_abs == 0
    assert [file.name for file in tmp_path.glob("out*")] == ["out.onnx"]
    assert out.stat().st_size > 2 * 64 * 64 * 4
