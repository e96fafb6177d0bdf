"""INT8 side by side: fewbits, NNCF and ONNX Runtime's quantizer: ``python -m benchmarks.peers [MODEL ...]``.

Each calibration runs in a process of its own (seconds, peak memory), all with the same 300 samples, several times in
turns. The models are then timed against each other in interleaved rounds, and their top-1 and agreement with FP32 taken
on the test set. The fastest peer is picked by these rounds, which flatters it, and timed against fewbits once more, by
themselves and longer: that is the ratio quoted. At the end stand one table, and the difference in top-1 to each peer
over all images: the best of several peers on one model is picked by its luck as well. Needs the extra ``peers`` and the
assets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.assets import Asset, chosen
from benchmarks.calibrators import test_data
from fewbits.data import stream
from fewbits.engines import ENGINES, Options, Session
from fewbits.measurement.evaluate import evaluate
from fewbits.measurement.interval import median_interval, paired_drop
from fewbits.measurement.metrics import Agreement, metric
from fewbits.measurement.metrics.evidence import Evidence
from fewbits.measurement.records import Timing
from fewbits.measurement.speed import time_sessions

TOP1 = metric("top1", labelled=True)
REPEATS = 3
ROUNDS, DUEL_ROUNDS = 31, 91
VARIANTS = ("", " learned")


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
    Row("openvino INT8 fewbits learned", "fewbits-openvino-learned", "openvino"),
    Row("openvino INT8 NNCF performance", "nncf-performance", "openvino"),
    Row("openvino INT8 NNCF mixed", "nncf-mixed", "openvino"),
    Row("openvino INT8 ONNX Runtime's", "onnxruntime-minmax", "openvino"),
    Row("onnxruntime FP32", "", "onnxruntime"),
    Row("onnxruntime INT8 fewbits", "fewbits-onnxruntime", "onnxruntime"),
    Row("onnxruntime INT8 fewbits learned", "fewbits-onnxruntime-learned", "onnxruntime"),
    Row("onnxruntime INT8 its own", "onnxruntime-minmax", "onnxruntime"),
)


@dataclass(frozen=True)
class Cost:
    """Of one calibrator: median seconds, and bytes at its peak above what the loaded model takes."""

    seconds: float
    above: float


@dataclass(frozen=True)
class Result:
    """Of one row: its timing, what it answered on the test set, and agreement with FP32 on OpenVINO."""

    timing: Timing
    answers: Sequence[Evidence]
    agree: float

    @property
    def top1(self) -> float:
        return TOP1.score(self.answers)


def points_below(ours: Sequence[Evidence], other: Sequence[Evidence]) -> str:
    """Points of top-1 that ours lies below the other, with their paired interval; negative where it is above."""
    drop = paired_drop(TOP1, other, ours, 0.95)
    return f"{drop.estimate * 100:+.2f} [{drop.low * 100:+.2f}, {drop.high * 100:+.2f}]"


def calibrate_all(asset: Asset, folder: Path) -> dict[str, Cost]:
    """Run every calibrator in turns; prints what each one cost."""
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(REPEATS):
        for who in dict.fromkeys(("fp32-pass", *(row.maker for row in ROWS if row.maker))):
            if who in found and not found[who]:
                continue
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.calibrators", who, asset.name]
            done = subprocess.run([*command, str(folder / f"{who}.onnx")], capture_output=True, text=True, check=False)
            runs = found.setdefault(who, [])
            if done.returncode:
                print(f"  {who} failed: {done.stderr.strip().splitlines()[-1]}")
            else:
                runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    costs = {
        who: Cost(float(np.median([r["seconds"] for r in runs])), max(r["peak"] - r["loaded"] for r in runs))
        for who, runs in found.items()
        if runs
    }
    base = costs["fp32-pass"].seconds
    for who, cost in costs.items():
        passes, above = cost.seconds / base, cost.above / 1e6
        print(f"  {who:28} {cost.seconds:6.2f} s  x{passes:5.2f} of the FP32 pass  +{above:5.0f} MB")
    return costs


def compare(asset: Asset, folder: Path) -> dict[str, Result]:
    """Speed and accuracy of all rows against each other."""
    rows = [row for row in ROWS if _file(row, asset, folder).exists()]
    latency, throughput = _sessions(rows, asset, folder)
    test = test_data(asset)
    found = evaluate(throughput, ROWS[0].label, stream(test, workers=2), TOP1)
    feed = dict(test.read(0).inputs)
    timing = time_sessions(latency, throughput, dict.fromkeys(latency, feed), rounds=ROUNDS)
    results = {
        label: Result(timing[label], found[label].evidence, Agreement().score(found[label].agreement or []))
        for label in latency
    }
    reference = timing[ROWS[0].label]
    for label, result in results.items():
        t = result.timing
        print(
            f"  {label:33} {t.throughput_fps:7.0f} fps x{np.median(t.round_fps / reference.round_fps):5.2f}   "
            f"{t.latency_ms['p50']:7.3f} ms x{np.median(reference.round_ms / t.round_ms):5.2f}   "
            f"top-1 {result.top1 * 100:5.2f}  agree {result.agree:.4f}"
        )
    return results


def duel(asset: Asset, folder: Path, engine: str, results: Mapping[str, Result]) -> tuple[str, dict[str, Timing]]:
    """The fastest peer on this engine, and the timing of it and of fewbits' models side by side."""
    fastest = max(_peers(results, engine).items(), key=lambda found: found[1].timing.throughput_fps)[0]
    wanted = {fastest, *(f"{engine} INT8 fewbits{variant}" for variant in VARIANTS)}
    latency, throughput = _sessions([row for row in ROWS if row.label in wanted], asset, folder)
    feed = dict(test_data(asset).read(0).inputs)
    return fastest, time_sessions(latency, throughput, dict.fromkeys(latency, feed), rounds=DUEL_ROUNDS)


def summary(
    results: Mapping[str, Result],
    costs: Mapping[str, Cost],
    fastest: str,
    timing: Mapping[str, Timing],
    engine: str,
    variant: str = "",
) -> list[str]:
    """One line of the final table: fewbits on one engine against the best of its peers there."""
    label = f"{engine} INT8 fewbits{variant}"
    ours, peers = results[label], _peers(results, engine)
    speed = median_interval(timing[label].round_fps / timing[fastest].round_fps, 0.95)
    latency = median_interval(timing[fastest].round_ms / timing[label].round_ms, 0.95)
    cost, base = costs[f"fewbits-{engine}{variant.replace(' ', '-')}"], costs["fp32-pass"].seconds
    best = max(peers.values(), key=lambda r: r.top1)
    return [
        f"{engine}{variant}",
        f"{ours.agree:.4f} / {max(r.agree for r in peers.values()):.4f}",
        f"{ours.top1 * 100:.2f} / {best.top1 * 100:.2f} ({results[ROWS[0].label].top1 * 100:.2f})",
        points_below(ours.answers, best.answers),
        f"{_ratio(speed)} {fastest.removeprefix(f'{engine} INT8 ')}",
        _ratio(latency),
        f"{cost.seconds:.1f} ({1.5 * base + 1:.1f})",
        f"+{cost.above / 1e6:.0f}",
    ]


def _ratio(interval: tuple[float, float, float]) -> str:
    low, middle, high = interval
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def over_all(found: Sequence[Mapping[str, Result]]) -> list[list[str]]:
    """Lines of the second table: fewbits on each engine against each peer and FP32, over the images of all models."""
    lines = []
    for row in ROWS:
        ours = f"{row.engine} INT8 fewbits"
        if row.label.startswith(ours) or not all(row.label in results for results in found):
            continue
        mine, theirs = ([results[label] for results in found] for label in (ours, row.label))
        answers = [[answer for result in side for answer in result.answers] for side in (mine, theirs)]
        agree = " / ".join(f"{np.mean([result.agree for result in side]):.4f}" for side in (mine, theirs))
        lines.append([row.engine, row.label.removeprefix(f"{row.engine} "), points_below(*answers), agree])
    return lines


def _peers(results: Mapping[str, Result], engine: str) -> dict[str, Result]:
    return {k: r for k, r in results.items() if k.startswith(f"{engine} INT8") and "fewbits" not in k}


def _sessions(rows: Sequence[Row], asset: Asset, folder: Path) -> tuple[dict[str, Session], dict[str, Session]]:
    """By label, in latency and in throughput mode."""
    latency, throughput = (
        {
            row.label: ENGINES[row.engine].compile(
                _file(row, asset, folder), Options(mode=mode, precision=row.precision)
            )
            for row in rows
        }
        for mode in ("latency", "throughput")
    )
    return latency, throughput


def _file(row: Row, asset: Asset, folder: Path) -> Path:
    if not row.maker:
        return asset.model
    path = folder / f"{row.maker}.onnx"
    return path.with_suffix(".xml") if row.maker.startswith("nncf") else path


def main(names: list[str]) -> None:
    table, found = [], []
    for asset in chosen(names):
        print(f"\n{asset.name}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            costs = calibrate_all(asset, folder)
            results = compare(asset, folder)
            for engine in ENGINES:
                timed = duel(asset, folder, engine, results)
                table += [[asset.name, *summary(results, costs, *timed, engine, variant)] for variant in VARIANTS]
        found.append(results)
    head = ["model", "engine", "agree: fewbits / best peer", "top-1: fewbits / best peer (FP32)"]
    head += ["points below it [95 %]", "fps / fastest peer's [95 %]", "latency ratio [95 %]"]
    head += ["seconds (1.5 FP32 passes + 1)", "MB"]
    _print(head, table)
    _print(
        ["engine", "against", "points below it over all images [95 %]", "agree, mean of the models"], over_all(found)
    )


def _print(head: list[str], lines: list[list[str]]) -> None:
    print()
    for line in (head, ["---"] * len(head), *lines):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
