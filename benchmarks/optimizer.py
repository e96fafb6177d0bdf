"""What does the model optimizer do to real models? ``python -m benchmarks.optimizer [MODEL ...]``.

For every ONNX asset: nodes and batch norms before and after, seconds that the pipeline takes, the deviation and the
size of each format as ONNX, and how long one FP32 inference of the simplified model takes against the original's on
both engines (ratio of interleaved rounds with its 95% interval; below 1 is faster).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import fewbits
from benchmarks.assets import ASSETS
from fewbits.engines import ENGINES, Options
from fewbits.measurement.deviation import random_feeds
from fewbits.measurement.interval import speedup
from fewbits.measurement.speed import time_sessions
from fewbits.passes import simplify

ROUNDS = 15
_PIPELINE_RUNS = 5


def optimize(path: Path) -> None:
    original = fewbits.load(path)
    seconds = []
    for _ in range(_PIPELINE_RUNS):
        start = time.perf_counter()
        simple = simplify(original)
        seconds.append(time.perf_counter() - start)
    norms = [Counter(node.op_type for node in model.graph)["BatchNormalization"] for model in (original, simple)]
    print(
        f"\n{path.stem}: {len(original.graph)} → {len(simple.graph)} nodes, {norms[0]} → {norms[1]} batch norms, "
        f"pipeline {min(seconds):.2f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".onnx", ".xml"):
            sizes = {}
            for to in ("fp32", "fp16", "bf16"):
                found = fewbits.convert(path, out=Path(folder) / f"{to}{suffix}", to=to)
                bin_file = found.out.with_suffix(".bin")
                sizes[to] = bin_file.stat().st_size if suffix == ".xml" else found.size_after
                share = f"weights {sizes[to] / sizes['fp32']:.3f} of FP32's"
                print(f"  {to} {suffix:5} {found.size_after / 1e6:6.2f} MB, {share}, {found.sqnr_db:5.1f} dB,", end=" ")
                print(f"largest difference {found.max_abs:.2g}")
    for name in ("openvino", "onnxruntime"):
        engine = ENGINES[name]
        sessions = {"original": engine.compile(path, Options()), "simplified": engine.compile(simple, Options())}
        feed = random_feeds(sessions["original"].inputs, {}, 1)[0]
        timings = time_sessions(sessions, sessions, dict.fromkeys(sessions, feed), rounds=ROUNDS)
        # Simplified as the reference: its time over the original's.
        low, ratio, high = speedup(timings["simplified"].round_ms, timings["original"].round_ms, 0.95)
        print(f"  {name}: time simplified / original {ratio:.3f} ({low:.3f} to {high:.3f}),", end=" ")
        print(f"original {timings['original'].latency_ms['p50']:.2f} ms", flush=True)
        for session in sessions.values():
            session.close()


def main(names: list[str]) -> None:
    models = sorted((ASSETS / "models" / "onnx").glob("*.onnx"))
    if not models:
        sys.exit(f"no models in {ASSETS}: set FEWBITS_ASSETS to the folder with models/")
    for path in models:
        if not names or path.stem in names:
            optimize(path)


if __name__ == "__main__":
    main(sys.argv[1:])
