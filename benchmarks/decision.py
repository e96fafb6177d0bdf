"""What ``choose`` chooses against what can be assembled by hand: ``python -m benchmarks.decision [MODEL ...]``.

For each budget (half a point and one point of top-1, 99 % agreement with FP32) fewbits chooses in a process of its own,
NNCF's accuracy control does the same on the same data, and FP32, FP16, BF16, NNCF's two presets and ONNX Runtime's
quantizer are there as well. All are then timed against each other in interleaved rounds, in one process, and their
accuracy is taken on the whole test set. One table: the choice against the fastest by hand that is inside the budget.
Needs the extra ``peers`` and the assets. ``--keep FOLDER`` keeps what is assembled by hand, with its seconds, and takes
it from there the next time: NNCF's accuracy control needs minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fewbits
from benchmarks.assets import Asset, chosen
from benchmarks.calibrators import test_data
from fewbits.data import stream
from fewbits.engines import ENGINES, Options
from fewbits.measurement.evaluate import evaluate
from fewbits.measurement.interval import median_interval
from fewbits.measurement.metrics import Agreement, metric
from fewbits.measurement.records import Timing
from fewbits.measurement.speed import time_sessions

ROUNDS = 31
# NNCF's accuracy control is not waited for any longer.
PATIENCE_S = 300
REFERENCE = "openvino fp32"


@dataclass(frozen=True)
class Task:
    """One budget: the most that may be lost of a metric, as a fraction."""

    metric: str
    max_drop: float

    @property
    def label(self) -> str:
        return f"{self.metric}-{self.max_drop * 100:g}"


@dataclass(frozen=True)
class Way:
    """One way to run the model."""

    engine: str
    file: Path
    precision: str = "f32"


@dataclass(frozen=True)
class Found:
    """Of one way: its timing, top-1, and agreement with FP32."""

    timing: Timing
    top1: float
    agreement: float

    def score(self, name: str) -> float:
        return self.agreement if name == "agreement" else self.top1


TASKS = (Task("top1", 0.005), Task("top1", 0.01), Task("agreement", 0.01))


def choose(asset: Asset, task: Task, folder: Path) -> tuple[Way, str, float]:
    """fewbits' choice, its name, and the seconds it took, started as a person would."""
    options = asset.options()
    command = [sys.executable, "-m", "fewbits", "choose", str(asset.model), "--data", str(options.data)]
    command += ["--calibration-data", str(options.calibration_data), "--label-offset", str(asset.label_offset)]
    for key, value in asset.preprocess.items():
        command += [f"--{key}", value]
    command += ["--max-drop", f"{task.max_drop * 100:g}%", "--metric", task.metric, "-o", str(folder), "--json"]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"choose failed: {done.stderr.strip().splitlines()[-1]}")
    decision = json.loads(done.stdout)
    winner = next(c for c in decision["candidates"] if c["name"] == decision["chosen"])
    precision = "bf16" if "bf16" in winner["formats"] else "f32"
    return Way(winner["engine"], folder / winner["files"][0], precision), winner["name"], seconds


def by_hand(asset: Asset, folder: Path) -> tuple[dict[str, Way], dict[str, float | None]]:
    """All that a person could assemble, and the seconds each took; None what was stopped."""
    half = folder / "fp16.onnx"
    fewbits.convert(asset.model, out=half, to="fp16")
    ways = {
        REFERENCE: Way("openvino", asset.model),
        "onnxruntime fp32": Way("onnxruntime", asset.model),
        "openvino fp16": Way("openvino", half),
        "onnxruntime fp16": Way("onnxruntime", half),
    }
    if ENGINES["openvino"].refuses("bf16", "CPU") is None:
        ways["openvino bf16"] = Way("openvino", asset.model, "bf16")
    makers = ["nncf-performance", "nncf-mixed", "onnxruntime-minmax"]
    seconds: dict[str, float | None] = {}
    for maker in (*makers, *(f"nncf-control-{task.label}" for task in TASKS)):
        file, said = folder / f"{maker}.onnx", folder / f"{maker}.json"
        if not said.is_file():
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.calibrators", maker, asset.name, str(file)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                said.write_text(json.dumps({"seconds": None}))
            else:
                if done.returncode:
                    print(f"  {maker} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                    continue
                said.write_text(done.stdout.strip().splitlines()[-1])
        seconds[maker] = json.loads(said.read_text())["seconds"]
        if seconds[maker] is None:
            print(f"  {maker}: stopped after {PATIENCE_S} s", flush=True)
            continue
        if maker.startswith("nncf"):
            ways[maker] = Way("openvino", file.with_suffix(".xml"))
        else:
            ways |= {f"{maker} on {engine}": Way(engine, file) for engine in ENGINES}
    return ways, seconds


def measure(asset: Asset, ways: dict[str, Way]) -> dict[str, Found]:
    """All ways against each other: speed in interleaved rounds, accuracy on the whole test set."""
    latency, throughput = (
        {
            name: ENGINES[way.engine].compile(way.file, Options(mode=mode, precision=way.precision))
            for name, way in ways.items()
        }
        for mode in ("latency", "throughput")
    )
    test, top1 = test_data(asset), metric("top1", labelled=True)
    seen = evaluate(latency, REFERENCE, stream(test, workers=2), top1)
    feed = dict(test.read(0).inputs)
    timing = time_sessions(latency, throughput, dict.fromkeys(latency, feed), rounds=ROUNDS)
    return {
        name: Found(timing[name], top1.score(seen[name].evidence), Agreement().score(seen[name].agreement or []))
        for name in ways
    }


def rows(asset: Asset, folder: Path, kept: Path) -> list[list[str]]:
    kept.mkdir(parents=True, exist_ok=True)
    ways, seconds = by_hand(asset, kept)
    choices = {}
    for task in TASKS:
        way, name, took = choose(asset, task, folder / task.label)
        choices[task] = (f"choice {task.label}", name, took)
        ways[f"choice {task.label}"] = way
    found = measure(asset, ways)
    reference = found[REFERENCE]
    for name, one in found.items():
        speed = np.median(reference.timing.round_ms / one.timing.round_ms)
        drop = (reference.top1 - one.top1) * 100
        print(
            f"  {name:32} {speed:5.2f} times FP32   top-1 {drop:+6.2f} points   agree {one.agreement:.4f}", flush=True
        )
    table = []
    for task, (key, name, took) in choices.items():
        whole = reference.score(task.metric)
        inside = [
            other
            for other, one in found.items()
            if not other.startswith("choice") and whole - one.score(task.metric) <= task.max_drop + 1e-9
        ]
        rounds = {other: found[other].timing.round_ms for other in inside}
        fastest = min(inside, key=lambda other: float(np.median(rounds[other] / reference.timing.round_ms)))
        low, ratio, high = median_interval(rounds[fastest] / found[key].timing.round_ms, 0.95)
        drop = (whole - found[key].score(task.metric)) * 100
        maker = f"nncf-control-{task.label}"
        control = seconds.get(maker)
        spent = f"{took:.0f} / {f'{control:.0f}' if control else f'> {PATIENCE_S}' if maker in seconds else 'failed'}"
        against = f"{ratio:.2f} [{low:.2f}, {high:.2f}]"
        table.append([asset.name, task.label, name, f"{drop:+.2f}", fastest, against, spent])
    return table


def main(names: list[str], keep: Path | None) -> None:
    table = []
    for asset in chosen(names):
        print(f"\n{asset.name}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            table += rows(asset, Path(name), (keep or Path(name)) / asset.name)
    head = ["model", "budget", "chosen", "drop, points", "fastest by hand inside", "speed against it [95 %]"]
    head += ["seconds: choose / NNCF's control"]
    print()
    for line in (head, ["---"] * len(head), *table):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="what choose chooses against what can be assembled by hand")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what is assembled by hand, and reuse it")
    given = parser.parse_args()
    main(given.models, given.keep)
