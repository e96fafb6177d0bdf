"""One calibration in a process of its own: ``python -m benchmarks.calibrators WHO ASSET OUT``.

Prints one JSON line: seconds of the calibration (imports and reading the data's list left out, decoding included),
peak resident bytes, and resident bytes once the model was loaded.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

import fewbits
from benchmarks.assets import Asset, chosen
from fewbits.data import Dataset, Sample, stream
from fewbits.engines import ENGINES, Options
from fewbits.graph import queries
from fewbits.measurement.memory import peak_rss_bytes
from fewbits.progress import Progress
from fewbits.verbs.inputs import open_test_data


def calibration_options(asset: Asset) -> fewbits.DataOptions:
    options = asset.options()
    return dataclasses.replace(options, data=options.calibration_data, calibration_data=None)


def calibration_data(asset: Asset) -> Dataset:
    model = fewbits.load(asset.model)
    return open_test_data(calibration_options(asset), queries.specs(model.graph.inputs), Progress())


def test_data(asset: Asset) -> Dataset:
    model = fewbits.load(asset.model)
    return open_test_data(asset.options(), queries.specs(model.graph.inputs), Progress())


def fewbits_for(engine: str, correct: str = "auto") -> Callable[[Asset, Path], None]:
    """fewbits with default options but for the corrections, placed for one engine."""

    def run(asset: Asset, out: Path) -> None:
        fewbits.calibrate(asset.model, calibration_options(asset), out=out, engine=engine, correct=correct)

    return run


def nncf_with(preset: str) -> Callable[[Asset, Path], None]:
    """NNCF's post-training quantization of the OpenVINO model, all 300 samples."""

    def run(asset: Asset, out: Path) -> None:
        import nncf
        import openvino

        nncf.set_log_level(logging.ERROR)
        model = openvino.Core().read_model(str(asset.model))
        dataset = calibration_data(asset)
        name = model.inputs[0].any_name
        source = nncf.Dataset(_Batches(dataset), lambda sample: {name: sample.inputs[name]})
        made = nncf.quantize(
            model, source, preset=nncf.QuantizationPreset(preset), subset_size=len(dataset), fast_bias_correction=True
        )
        openvino.save_model(made, str(out.with_suffix(".xml")), compress_to_fp16=False)

    return run


def nncf_accuracy_control(metric_name: str, max_drop: float) -> Callable[[Asset, Path], None]:
    """NNCF's search for a quantized model inside a budget: it validates on the test set, as ``choose`` does.

    For agreement the score of an image is whether its class is FP32's.
    """

    def run(asset: Asset, out: Path) -> None:
        import nncf
        import openvino

        nncf.set_log_level(logging.ERROR)
        core = openvino.Core()
        model = core.read_model(str(asset.model))
        calibration, test = calibration_data(asset), test_data(asset)
        name = model.inputs[0].any_name
        truth = core.compile_model(model, "CPU") if metric_name == "agreement" else None

        def right(compiled: openvino.CompiledModel, samples: Iterable[Sample]) -> tuple[float, list[float]]:
            scores = []
            for sample in samples:
                found = int(np.argmax(compiled(sample.inputs)[0]))
                wanted = sample.target if truth is None else int(np.argmax(truth(sample.inputs)[0]))
                scores.append(float(found == wanted))
            return float(np.mean(scores)), scores

        made = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(_Batches(calibration), lambda sample: {name: sample.inputs[name]}),
            nncf.Dataset(_Batches(test)),
            right,
            max_drop=max_drop,
            drop_type=nncf.DropType.ABSOLUTE,
            subset_size=len(calibration),
        )
        openvino.save_model(made, str(out.with_suffix(".xml")), compress_to_fp16=False)

    return run


class _Batches:
    """A data set NNCF may walk more than once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[object]:
        return stream(self._dataset, workers=2)

    def __len__(self) -> int:
        return len(self._dataset)


def onnxruntime_minmax(asset: Asset, out: Path) -> None:
    """ONNX Runtime's quantize_static with its pre-processing, QDQ, per channel, MinMax."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    dataset = calibration_data(asset)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = stream(dataset, workers=2)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self._samples, None)
            return None if sample is None else dict(sample.inputs)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(asset.model), str(prepared))
        quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def plain_fp32(asset: Asset, out: Path) -> None:  # noqa: ARG001
    """The yardstick: the same samples once through the FP32 model, throughput mode, all cores."""
    dataset = calibration_data(asset)
    session = ENGINES["openvino"].compile(asset.model, Options(mode="throughput"))
    samples = stream(dataset, workers=2)
    lock = threading.Lock()

    def work(slot: int) -> None:
        while True:
            with lock:
                sample = next(samples, None)
            if sample is None:
                return
            session.run(sample.inputs, slot)

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(session.slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CALIBRATORS: dict[str, Callable[[Asset, Path], None]] = {
    "fp32-pass": plain_fp32,
    "fewbits-openvino": fewbits_for("openvino"),
    "fewbits-onnxruntime": fewbits_for("onnxruntime"),
    "fewbits-openvino-learned": fewbits_for("openvino", "auto,rounding"),
    "fewbits-onnxruntime-learned": fewbits_for("onnxruntime", "auto,rounding"),
    "nncf-performance": nncf_with("performance"),
    "nncf-mixed": nncf_with("mixed"),
    "onnxruntime-minmax": onnxruntime_minmax,
    "nncf-control-top1-0.5": nncf_accuracy_control("top1", 0.005),
    "nncf-control-top1-1": nncf_accuracy_control("top1", 0.01),
    "nncf-control-agreement-1": nncf_accuracy_control("agreement", 0.01),
}


def main(who: str, name: str, out: str) -> None:
    asset = chosen([name])[0]
    if who.startswith("nncf"):
        import nncf  # noqa: F401
    if who.startswith("fewbits"):
        import fewbits.verbs.calibrate  # noqa: F401
    if who.startswith("onnxruntime"):
        import onnxruntime.quantization  # noqa: F401
    session = ENGINES["openvino"].compile(asset.model, Options(mode="throughput"))
    session.run({spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs})
    session.close()
    loaded = peak_rss_bytes()
    start = time.monotonic()
    CALIBRATORS[who](asset, Path(out))
    print(json.dumps({"seconds": time.monotonic() - start, "peak": peak_rss_bytes(), "loaded": loaded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
