"""INT8 side by side: fewbits, NNCF and ONNX Runtime's quantizer: ``python -m benchmarks.peers [MODEL ...]``.

Each calibration runs in a process of its own (seconds, peak memory), all with the same 300 samples. The models are then
timed against each other in interleaved rounds, and their top-1 and agreement with FP32 taken on the test set. Needs
the extra ``peers`` and the assets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fewbits
from benchmarks.assets import Asset, chosen
from benchmarks.calibrators import CALIBRATORS
from fewbits.data import stream
from fewbits.engines import ENGINES, Options
from fewbits.graph import queries
from fewbits.measurement.evaluate import evaluate
from fewbits.measurement.metrics import Agreement, metric
from fewbits.measurement.speed import time_sessions
from fewbits.progress import Progress
from fewbits.verbs.inputs import open_test_data


@dataclass(frozen=True)
class Row:
    """One way to run a model: who made the file, which engine runs it, floating point in which precision."""

    label: str
    maker: str
    engine: str
    precision: str = "f32"


ROWS = (
    Row("openvino FP32", "", "openvino"),
    Row("openvino BF16", "", "openvino", "bf16"),
    Row("openvino INT8 fewbits", "fewbits-openvino", "openvino"),
    Row("openvino INT8 NNCF performance", "nncf-performance", "openvino"),
    Row("openvino INT8 NNCF mixed", "nncf-mixed", "openvino"),
    Row("openvino INT8 ONNX Runtime's", "onnxruntime-minmax", "openvino"),
    Row("onnxruntime FP32", "", "onnxruntime"),
    Row("onnxruntime INT8 fewbits", "fewbits-onnxruntime", "onnxruntime"),
    Row("onnxruntime INT8 its own", "onnxruntime-minmax", "onnxruntime"),
)


def calibrate_all(asset: Asset, folder: Path) -> dict[str, dict[str, float]]:
    """Run every calibrator; prints what each one cost."""
    costs = {}
    for who in CALIBRATORS:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.calibrators", who, asset.name]
        done = subprocess.run([*command, str(folder / f"{who}.onnx")], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"  {who} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        costs[who] = json.loads(done.stdout.strip().splitlines()[-1])
    base = costs["fp32-pass"]["seconds"]
    for who, cost in costs.items():
        above = (cost["peak"] - cost["loaded"]) / 1e6
        print(f"  {who:22} {cost['seconds']:6.2f} s  x{cost['seconds'] / base:5.2f} of the FP32 pass  +{above:5.0f} MB")
    return costs


def compare(asset: Asset, folder: Path, rounds: int = 15) -> None:
    """Speed and accuracy of all rows against each other."""
    rows = {row.label: (row, _file(row, asset, folder)) for row in ROWS if _file(row, asset, folder).exists()}
    latency, throughput = (
        {
            label: ENGINES[row.engine].compile(path, Options(mode=mode, precision=row.precision))
            for label, (row, path) in rows.items()
        }
        for mode in ("latency", "throughput")
    )
    inputs = queries.specs(fewbits.load(asset.model).graph.inputs)
    test = open_test_data(asset.options(), inputs, Progress())
    top1 = metric("top1", labelled=True)
    found = evaluate(throughput, ROWS[0].label, stream(test, workers=2), top1)
    feed = dict(test.read(0).inputs)
    timing = time_sessions(latency, throughput, dict.fromkeys(latency, feed), rounds=rounds)
    reference = timing[ROWS[0].label]
    for label in rows:
        t, e = timing[label], found[label]
        agree = Agreement().score(e.agreement or [])
        ms = np.median(reference.round_ms / t.round_ms)
        fps = np.median(t.round_fps / reference.round_fps)
        print(
            f"  {label:31} {t.throughput_fps:7.0f} fps x{fps:5.2f}   {t.latency_ms['p50']:7.3f} ms x{ms:5.2f}   "
            f"top-1 {top1.score(e.evidence) * 100:5.2f}  agree {agree:.4f}"
        )
    _ratios(timing, "openvino INT8 fewbits", [label for label in rows if label.startswith("openvino INT8 ")])
    _ratios(timing, "onnxruntime INT8 fewbits", [label for label in rows if label.startswith("onnxruntime INT8 ")])


def _ratios(timing: dict[str, object], ours: str, all_of_them: list[str]) -> None:
    for other in all_of_them:
        if other != ours:
            a, b = timing[ours], timing[other]
            ms, fps = np.median(b.round_ms / a.round_ms), np.median(a.round_fps / b.round_fps)
            print(f"  {ours} against {other}: latency x{ms:.2f}, throughput x{fps:.2f}")


def _file(row: Row, asset: Asset, folder: Path) -> Path:
    if not row.maker:
        return asset.model
    path = folder / f"{row.maker}.onnx"
    return path.with_suffix(".xml") if row.maker.startswith("nncf") else path


def main(names: list[str]) -> None:
    for asset in chosen(names):
        print(f"\n{asset.name}")
        with tempfile.TemporaryDirectory() as folder:
            calibrate_all(asset, Path(folder))
            compare(asset, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
