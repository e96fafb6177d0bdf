"""Do BF16 and sampling change the ranges? ``python -m benchmarks.statistics [MODEL ...]``.

Statistics of the same 300 samples are taken three ways: as fewbits does (BF16 where the device computes in it, a grid
of positions), in FP32, and in FP32 with sixteen times as many positions. Printed is by how many steps of 8 bits each
method's ranges differ, beside how much they differ between the two halves of the calibration set, and what the INT8
models made of them reach at the outputs. Then the memory of calibrations with 300 and with 3000 samples.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import fewbits
from benchmarks.assets import chosen
from benchmarks.calibrators import calibration_data
from fewbits.calibration import collect as collecting
from fewbits.calibration.statistics import Statistics
from fewbits.data import first, stream
from fewbits.engines import ENGINES, TRIALS, Options
from fewbits.numerics import METHODS
from fewbits.passes import simplify
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.trial import Trial
from fewbits.quantization.workshop import Bench, Workshop

DENSER = 16
_RUN = """
import sys, numpy as np
import fewbits
from fewbits.measurement.memory import peak_rss_bytes
from fewbits.engines import ENGINES, Options
model, data, method, correct, out = sys.argv[1:]
session = ENGINES["openvino"].compile(fewbits.load(model), Options(mode="throughput"))
session.run({spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs})
session.close()
loaded = peak_rss_bytes()
result = fewbits.calibrate(model, fewbits.DataOptions(data=data), out=out, method=method, correct=correct)
print(result.samples, (result.peak_rss_bytes - loaded) / 1e6)
"""


def ranges_of(name: str) -> None:
    asset = chosen([name])[0]
    engine = ENGINES["openvino"]
    model = simplify(fewbits.load(asset.model))
    names = values_to_watch(model, Recipe(), [engine.capability])
    samples = list(stream(calibration_data(asset), workers=2))
    quick = "f32" if engine.refuses("bf16", "CPU") else "bf16"

    def take(part: list[fewbits.data.Sample], precision: str, factor: int = 1) -> Statistics:
        expected = max(len(part) // factor, 1)
        return collecting.collect(model, names, part, expected, engine, Options(precision=precision))

    ways = {
        "as fewbits does": take(samples, quick),
        "FP32": take(samples, "f32"),
        "FP32, dense": take(samples, "f32", DENSER),
    }
    halves = take(samples[::2], "f32"), take(samples[1::2], "f32")
    print(f"\n{name} ({quick}): difference in steps of 8 bits, median and largest of {len(names)} values")
    for method in METHODS:
        cells = [f"{label} {_steps(ways[label], ways['FP32'], method)}" for label in ("as fewbits does", "FP32, dense")]
        print(f"  {method:10} {'   '.join(cells)}   between halves {_steps(*halves, method)}")
    bench = Bench(TRIALS, Options(), first(iter(samples), 64), lambda _: ways["FP32"])
    for method in METHODS:
        reached = {}
        for label, statistics in ways.items():
            recipe = Recipe(method=method, corrections=("bias",))
            with Trial(model, bench) as trial:
                trial.begin(Workshop(engine, bench).carry_out(model, statistics, recipe))
                reached[label] = next(iter(trial.reached.values()))
        print(f"  {method:10} SQNR " + ", ".join(f"{label} {db:.2f} dB" for label, db in reached.items()))


def _steps(one: Statistics, other: Statistics, method: str) -> str:
    a, b = (_ranges(s, method) for s in (one, other))
    moved = [
        max(abs(a[n][0] - b[n][0]), abs(a[n][1] - b[n][1])) / (b[n][1] - b[n][0]) * 255 for n in a if b[n][1] > b[n][0]
    ]
    return f"{np.median(moved):.2f} {max(moved):.2f}"


def _ranges(statistics: Statistics, method: str) -> Mapping[str, tuple[float, float]]:
    return statistics.ranges(method, symmetric=False)


def memory_of(name: str) -> None:
    """Peak memory above the loaded model with 300 and 3000 random images of the model's input size."""
    asset = chosen([name])[0]
    spec = fewbits.load(asset.model).graph.inputs[0]
    shape = [d if isinstance(d, int) else 1 for d in spec.shape][1:]
    print(f"\n{name}: MB above the loaded model")
    with tempfile.TemporaryDirectory() as folder:
        for method, correct in [(m, "auto") for m in ("auto", *METHODS)] + [("auto", "auto,rounding")]:
            cells = []
            for count in (300, 3000):
                data = Path(folder) / f"{count}.npy"
                if not data.exists():
                    images = np.lib.format.open_memmap(data, "w+", np.float32, (count, *shape))
                    for index in range(count):
                        images[index] = np.random.default_rng(index).standard_normal(shape)
                    images.flush()
                command = [
                    sys.executable,
                    "-c",
                    _RUN,
                    str(asset.model),
                    str(data),
                    method,
                    correct,
                    f"{folder}/out.onnx",
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                cells.append("{} samples {:.0f}".format(*map(float, done.stdout.split()[-2:])))
            print(f"  --method {method} --correct {correct}: {', '.join(cells)}", flush=True)


def main(names: list[str]) -> None:
    for asset in chosen(names):
        ranges_of(asset.name)
    memory_of("resnet20_cifar10")
    memory_of("squeezenet_v1.1")


if __name__ == "__main__":
    main(sys.argv[1:])
