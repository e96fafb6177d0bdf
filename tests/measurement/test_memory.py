"""Memory is measured in a real process of its own; what goes wrong there goes wrong there alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewbits.engines import ENGINES
from fewbits.errors import EngineError
from fewbits.graph.files import save_onnx
from fewbits.measurement.memory import measure_memory, peak_rss_bytes
from fewbits.measurement.records import Subject
from models import network

WEIGHTS = 4 << 20  # numbers, 16 MiB in FP32


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("memory")
    made = {}
    for name, rows in (("small", 16), ("large", WEIGHTS // 1024)):
        weights = np.random.default_rng(0).normal(size=(1024, rows)).astype(np.float32)
        made[name] = folder / f"{name}.onnx"
        save_onnx(
            network(f"g (float[N,1024] x) => (float[N,{rows}] y) {{ h = MatMul(x, w)  y = Relu(h) }}", w=weights),
            made[name],
        )
    return made


@pytest.mark.parametrize("engine", ENGINES)
def test_peak_lies_above_the_baseline_by_what_the_model_needs(engine: str, models: dict[str, Path]) -> None:
    small, large = (measure_memory(Subject(name, models[name], engine, threads=1)) for name in ("small", "large"))
    for found in (small, large):
        assert found.peak_bytes > found.baseline_bytes > 1 << 20
    growth = (large.peak_bytes - large.baseline_bytes) - (small.peak_bytes - small.baseline_bytes)
    assert 4 * WEIGHTS * 0.75 < growth < 4 * WEIGHTS * 6


@pytest.mark.parametrize("what", ["missing", "corrupt", "unknown engine", "refused precision"])
def test_what_cannot_run_is_an_engine_error(what: str, models: dict[str, Path], tmp_path: Path) -> None:
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(models["small"].read_bytes()[:1000])
    subject = {
        "missing": Subject("m", tmp_path / "missing.onnx", "openvino"),
        "corrupt": Subject("m", corrupt, "onnxruntime"),
        "unknown engine": Subject("m", models["small"], "nonesuch"),
        "refused precision": Subject("m", models["small"], "openvino", device="NOSUCH"),
    }[what]
    with pytest.raises(EngineError) as caught:
        measure_memory(subject)
    assert "\n" not in str(caught.value)


def test_this_process_has_a_peak() -> None:
    before = peak_rss_bytes()
    block = np.ones(64 << 20, np.uint8)
    assert peak_rss_bytes() >= before > 1 << 20
    assert peak_rss_bytes() >= block.nbytes
