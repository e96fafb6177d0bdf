"""What becomes of every model in the assets: ``python -m benchmarks.frontends [--only GLOB] [--write FILE]``.

Each model is read by its frontend, held against an implementation that is not ours on random input, calibrated on
random input (speed does not depend on the numbers), and timed in FP32 and INT8 on OpenVINO in interleaved rounds.
Each has a process of its own with a time and a memory limit: what goes wrong with one is a sentence in its row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx_ir as ir

import fewbits
from benchmarks.assets import ASSETS
from fewbits import DataOptions, Source
from fewbits.engines import ENGINES, Arrays
from fewbits.errors import FewbitsError
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from fewbits.graph import queries
from fewbits.graph.files import save_onnx
from fewbits.graph.vocabulary import vocabulary
from fewbits.inspection.coverage import coverage
from fewbits.measurement.deviation import random_feeds, run_all
from fewbits.passes import simplify

LIMIT_S = 900
LIMIT_BYTES = 24 << 30  # of addresses: engines reserve more than they use
SAMPLES = 8
HEAD = (
    "asset",
    "read as",
    "converted",
    "largest deviation",
    "INT8-able MACs",
    "FP32 ms",
    "INT8 ms",
    "times",
    "seconds",
)


@dataclass
class Row:
    """One model's way through; what was not reached stays empty."""

    asset: str
    frontend: str = ""
    converted: str = ""
    deviation: str = ""
    share: str = ""
    fp32_ms: str = ""
    int8_ms: str = ""
    times: str = ""
    seconds: str = ""


def assets() -> Iterator[Path]:
    """Every model in the assets, each once: a network without its weights file, a folder without its files."""
    root = ASSETS / "models"
    beside = (".caffemodel", ".bin")
    for path in sorted(root.rglob("*")):
        inside = any((parent / "saved_model.pb").is_file() for parent in path.parents)
        if not inside and (path.is_file() or (path / "saved_model.pb").is_file()) and path.suffix not in beside:
            yield path


def source_of(path: Path) -> Source:
    """A network with the weights beside it, or with random ones."""
    if path.suffix != ".prototxt":
        return Source(path)
    weights = next(iter(sorted(path.parent.glob("*.caffemodel"))), None)
    return Source(path, weights, random_weights=weights is None)


def examine(path: Path) -> Row:
    """Everything about one model; runs in a process of its own."""
    row = Row(path.relative_to(ASSETS / "models").as_posix())
    source, start = source_of(path), time.perf_counter()
    try:
        model = fewbits.load(source)
    except FewbitsError as error:
        row.converted = f"no: {error.what} - {error.fix}"
        return row
    row.seconds = f"{time.perf_counter() - start:.1f}"
    row.frontend = model.meta["frontend"] + (", random weights" if source.random_weights else "")
    row.converted = f"{len(model.graph)} nodes"
    row.deviation = _said(lambda: deviation(source, model))
    row.share = _said(lambda: f"{coverage(simplify(model), ENGINES['openvino']).share:.0%}")
    with tempfile.TemporaryDirectory() as folder:
        row.int8_ms = _said(lambda: speed(model, Path(folder), row))
    return row


def _said(work: Callable[[], str]) -> str:
    try:
        return work()
    except FewbitsError as error:
        return error.what
    except Exception as error:  # of a foreign implementation; its table goes on
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


def deviation(source: Source, model: ir.Model) -> str:
    """Largest difference of any output of the simplified model, as a part of that output's largest value."""
    oracle = ORACLES.get(identify(source.path))
    if oracle is None or source.random_weights:
        return "no oracle"
    feed = random_feeds(queries.specs(model.graph.inputs), vocabulary(model), 1)[0]
    name, expected = oracle(source, feed)
    (got,) = run_all(simplify(model), ENGINES["onnxruntime"], [feed])
    if not set(expected) <= set(got):  # names of layers, not of their outputs: their order is the same
        expected = dict(zip(got, expected.values(), strict=True))
    worst = 0.0
    for key, array in expected.items():
        if array.shape[-1:] == (7,) and array.ndim == 4:  # detections: two readers may order them differently
            lost, rows = _unmatched(got[key].reshape(-1, 7), array.reshape(-1, 7))
            return f"{lost} of {rows} detections differ ({name})"
        difference = np.abs(array.astype(np.float64).ravel() - got[key].ravel()).max()
        worst = max(worst, float(difference / max(np.abs(array).max(), 1e-30)))
    return f"{worst:.1e} ({name})"


def _unmatched(mine: np.ndarray, theirs: np.ndarray) -> tuple[int, int]:
    """How many of their rows (image, class, score, box) none of mine is within 1e-3 of, and how many there are."""
    near = (np.abs(theirs[:, None] - mine[None]) < 1e-3).all(axis=2)
    return int((~near.any(axis=1)).sum()), len(theirs)


def _onnxruntime(source: Source, feed: Arrays) -> tuple[str, Arrays]:
    return "ONNX Runtime", run_all(source.path, ENGINES["onnxruntime"], [feed])[0]


def _openvino(source: Source, feed: Arrays) -> tuple[str, Arrays]:
    from fewbits.libraries import openvino

    core = openvino().Core()
    model = core.read_model(str(source.path))
    model.reshape({port: list(array.shape) for port, array in zip(model.inputs, feed.values(), strict=True)})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(list(feed.values()))
    return "OpenVINO", {port.any_name if port.names else str(i): results[i] for i, port in enumerate(compiled.outputs)}


def _opencv(source: Source, feed: Arrays) -> tuple[str, Arrays]:
    import cv2

    net = cv2.dnn.readNetFromCaffe(str(source.path), str(source.weights))
    for name, array in feed.items():
        net.setInput(array, name)
    names = net.getUnconnectedOutLayersNames()
    return "OpenCV", dict(zip(names, net.forward(names), strict=True))


ORACLES: dict[Kind, Callable[[Source, Arrays], tuple[str, Arrays]]] = {
    Kind.ONNX: _onnxruntime,
    Kind.CAFFE: _opencv,
    Kind.OPENVINO: _openvino,
    Kind.TENSORFLOW: _openvino,
    Kind.SAVED_MODEL: _openvino,
    Kind.TFLITE: _openvino,
    Kind.PADDLE: _openvino,
}


def speed(model: ir.Model, folder: Path, row: Row) -> str:
    """Time FP32 alone where INT8 cannot be made; returns what stands in the INT8 column."""
    plain, int8, samples = folder / "fp32.onnx", folder / "int8.onnx", folder / "random.npz"
    save_onnx(simplify(model), plain)
    feeds = random_feeds(queries.specs(model.graph.inputs), vocabulary(model), SAMPLES)
    np.savez(samples, **{name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
    try:
        data = DataOptions(data=samples)
        fewbits.calibrate(plain, data, out=int8, method="minmax", correct="none", engine="openvino")
        why = ""
    except FewbitsError as error:
        why = error.what
    found = fewbits.measure([plain] if why else [plain, int8], engine="openvino").models
    times = [entry.measurement.timing.latency_ms["p50"] for entry in found]
    row.fp32_ms = f"{times[0]:.2f}"
    if why:
        return why
    row.times = f"{times[0] / times[1]:.2f}"
    return f"{times[1]:.2f}"


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))


def apart(path: Path) -> Row:
    """Examine one model in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.frontends", "--one", str(path)]
    lost = Row(path.relative_to(ASSETS / "models").as_posix())
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S, preexec_fn=_limit)
    except subprocess.TimeoutExpired:
        lost.converted = f"not within {LIMIT_S} s"
        return lost
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        lost.converted = f"failed: {last[:200]}"
        return lost
    return Row(**json.loads(done.stdout.strip().splitlines()[-1]))


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    cells = [[value.replace("|", "\\|") for value in asdict(row).values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([*HEAD], ["---"] * len(HEAD), *cells)) + "\n"


INTRODUCTION = """# Every model in the assets, through its frontend

`python -m benchmarks.frontends --write docs/frontends.md` writes this page. Deviation: the simplified model on ONNX
Runtime against the original on the implementation named, on random input; the largest difference of any output, as a
part of that output's largest value. Share: of the multiply-accumulates, what OpenVINO runs in INT8. Times: medians at
batch 1 on OpenVINO, FP32 and INT8 in turns; INT8 is calibrated on random input, which is enough for speed and says
nothing about accuracy. Seconds: of reading.

Networks without weights get random ones; `tests/frontends/test_caffe_networks.py` writes these into a .caffemodel and
holds them against OpenCV, which agrees to 3e-6 of the largest value or better, detectors in every row.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="GLOB", default="*", help="of the path below models/, such as 'caffe/*'")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the page there")
    parser.add_argument("--one", metavar="PATH", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(examine(options.one))))
        return
    paths = [p for p in assets() if fnmatch(p.relative_to(ASSETS / "models").as_posix(), options.only)]
    if not paths:
        sys.exit(f"no models for '{options.only}' in {ASSETS}: set FEWBITS_ASSETS to the folder with models/")
    rows = []
    for path in paths:
        rows.append(apart(path))
        print(" | ".join(asdict(rows[-1]).values()), flush=True)
    print()
    print(table(rows))
    if options.write:
        options.write.write_text(INTRODUCTION + table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
