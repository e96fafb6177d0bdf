"""A small network, images it can read, and the command line run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

CLASSES, SIDE = 10, 32
TEST, CALIBRATION = 120, 32


@dataclass(frozen=True)
class Net:
    """Files of the small network: FP32 model, labelled test set, calibration set, the same test set without labels.

    Inputs are stored as float32 [N, 3, 32, 32], so that no preprocessing is needed.
    """

    model: Path
    test: Path
    calibration: Path
    unlabelled: Path


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def last(self) -> str:
        """The last line on standard error."""
        return (self.err.strip().splitlines() or [""])[-1]


Run = Callable[..., Ran]


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, which is closed again."""
    with np.load(path) as archive:
        return dict(archive)


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def build_net(
    head: np.ndarray | None = None,
    *,
    batch: str | int = "N",
    height: str | int = SIDE,
    width: str | int = SIDE,
    doctor: Callable[[dict[str, np.ndarray]], None] = lambda weights: None,
) -> onnx.ModelProto:
    """Conv-BN-ReLU four times, one of them with a skip, pooling, and a linear layer where ``head`` is given."""
    rng = np.random.default_rng(7)
    weights: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    source, channels = "image", 3
    for index, (out, stride) in enumerate([(32, 2), (64, 2), (64, 1), (128, 2)]):
        name = f"block{index}"
        weights[f"{name}.w"] = _weights(rng, out, channels, 3, 3)
        weights[f"{name}.scale"] = rng.uniform(0.5, 1.5, out).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.2, out).astype(np.float32)
        weights[f"{name}.mean"] = rng.normal(0, 0.2, out).astype(np.float32)
        weights[f"{name}.var"] = rng.uniform(0.5, 1.5, out).astype(np.float32)
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.w"],
                [f"{name}.conv"],
                f"{name}/conv",
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            )
        )
        norm = [f"{name}.conv", *(f"{name}.{part}" for part in ("scale", "bias", "mean", "var"))]
        nodes.append(helper.make_node("BatchNormalization", norm, [f"{name}.bn"], f"{name}/bn"))
        summed = f"{name}.bn"
        if out == channels and stride == 1:
            nodes.append(helper.make_node("Add", [summed, source], [f"{name}.sum"], f"{name}/add"))
            summed = f"{name}.sum"
        nodes.append(helper.make_node("Relu", [summed], [f"{name}.out"], f"{name}/relu"))
        source, channels = f"{name}.out", out
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], "flatten"))
    output, size = "features", channels
    if head is not None:
        weights["head.w"], weights["head.b"] = head[:-1].astype(np.float32), head[-1].astype(np.float32)
        nodes.append(helper.make_node("Gemm", ["features", "head.w", "head.b"], ["logits"], "head"))
        output, size = "logits", CLASSES
    doctor(weights)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, size])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images_and_labels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One smooth pattern a class, with noise: float32 [count, 3, 32, 32], labels in turn."""
    patterns = np.random.default_rng(3).standard_normal((CLASSES, 3, 8, 8))
    patterns = patterns.repeat(4, axis=2).repeat(4, axis=3)
    labels = np.arange(count) % CLASSES
    noise = np.random.default_rng(seed).standard_normal((count, 3, SIDE, SIDE))
    return (patterns[labels] + 1.5 * noise).astype(np.float32), labels.astype(np.int64)


def run_in_process(*arguments: object, cwd: Path | None = None) -> Ran:
    """Run a command line as a person does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fewbits", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=600,
        env=os.environ | {"PYTHONWARNINGS": "error", "COLUMNS": "120"},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


ENGINES = ("openvino", "onnxruntime")
MEASURED = {
    *("path", "engine", "device", "precision", "latency_ms", "throughput_fps", "size_bytes", "peak_rss_bytes"),
    *("executed", "accuracy", "agreement", "metric"),
}


def check_measurement(entry: dict[str, Any]) -> None:
    assert entry.keys() >= MEASURED
    assert entry["latency_ms"].keys() == {"p50", "p90", "p99", "n"}
    assert 0 < entry["latency_ms"]["p50"] <= entry["latency_ms"]["p90"] <= entry["latency_ms"]["p99"]
    assert entry["latency_ms"]["n"] > 10
    assert entry["throughput_fps"] > 0
    assert entry["peak_rss_bytes"] > entry["size_bytes"] > 0
    assert sum(entry["executed"].values()) == pytest.approx(1, abs=1e-6)
