"""Every real ONNX model converts to every format, with the deviation reported and half the size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from small import Run
from test_assets import ASSETS, DATA, PREPROCESSING, pytestmark, quoted

__all__ = ["pytestmark"]  # skipped together with the other tests of real models

MODELS = sorted((ASSETS / "models" / "onnx").glob("*.onnx"))


def weights(out: Path) -> int:
    """Bytes of the file that holds the weights; an IR's text is as long in FP16 as in FP32."""
    return (out if out.suffix == ".onnx" else out.with_suffix(".bin")).stat().st_size


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_fp32_and_fp16(path: Path, suffix: str, cli: Run, tmp_path: Path) -> None:
    sizes = {}
    for to, least_db in (("fp32", 90), ("fp16", 15)):
        out = tmp_path / f"{to}{suffix}"
        ran = cli("convert", path, "--to", to, "-o", out, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["sqnr_db"] is None or ran.json["sqnr_db"] > least_db
        assert ran.json["deviations"][0]["inputs"] == "random"
        sizes[to] = weights(out)
        if suffix == ".onnx":
            made = onnx.load(out)
            producers = {name: node for node in made.graph.node for name in node.output}
            kinds = Counter(node.op_type for node in made.graph.node)
            assert kinds["BatchNormalization"] == 0
            casts = [node for node in made.graph.node if node.op_type == "Cast"]
            assert not [c for c in casts if c.input[0] in producers and producers[c.input[0]].op_type == "Cast"]
            before = Counter(node.name for node in onnx.load(path).graph.node if node.op_type in ("Conv", "Gemm"))
            after = Counter(node.name for node in made.graph.node if node.op_type in ("Conv", "Gemm"))
            assert after == before or "" in before
    assert sizes["fp16"] / sizes["fp32"] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("model", ["resnet56_cifar10", "mobilenet_v2_1.0_224"])
def test_on_real_input(model: str, cli: Run, tmp_path: Path) -> None:
    _, code, data, _ = quoted(model)
    path = ASSETS / "models" / "onnx" / f"{model}.onnx"
    arguments = ("--data", DATA[data], *PREPROCESSING[code], "--samples", 4, "--json")
    ran = cli("convert", path, "--to", "fp16", "-o", tmp_path / "out.onnx", *arguments)
    assert ran.code == 0, ran.err
    found = {one["inputs"]: one for one in ran.json["deviations"]}
    assert found["data"]["samples"] == 4
    assert found["data"]["sqnr_db"] > 35
