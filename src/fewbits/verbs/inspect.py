"""``inspect``: what is in a model, what of it can be quantized, and where FP16 or BF16 would go wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx_ir as ir

from fewbits import frontends, hazards
from fewbits.data import BadSamples, Sample, stream, take
from fewbits.engines import ENGINES
from fewbits.errors import EngineError
from fewbits.graph import qdq, queries
from fewbits.graph.files import file_bytes, read_proto
from fewbits.hazards.confirm import confirmed, half_run, random_sample, unexplained
from fewbits.hazards.observe import observe
from fewbits.hazards.records import Finding, HalfRun
from fewbits.inspection.coverage import coverage
from fewbits.inspection.facts import facts
from fewbits.inspection.records import Inspection
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, check_model, open_test_data

# Ranges settle within a few dozen samples; the FP16 run looks at every activation and needs few.
RANGE_SAMPLES, RUN_SAMPLES = 64, 4
_FRONTENDS = {".onnx": "onnx", ".xml": "openvino", ".prototxt": "caffe", ".pb": "tensorflow", ".tflite": "tflite"}


def inspect(model: str | Path, data: DataOptions | None = None, *, progress: Progress | None = None) -> Inspection:
    """Read a model and say what is in it; nothing is written.

    Args:
        data: samples for the ranges of activations and for the FP16 run; at most ``samples`` of them (64 if not
            said). Without data the run is on random numbers, and no range is judged.

    Raises:
        InputError: the model or the data is wrong.
    """
    progress = progress or Progress()
    path = Path(model)
    progress.step("reading the model")
    loaded = frontends.load(path)
    simple = simplify(loaded)
    samples = _samples(loaded, path, data, progress)
    given = bool(samples)
    if not given and (drawn := random_sample(simple)) is not None:
        samples = [drawn]
    progress.step("looking for hazards")
    findings, run, mixed = _look(simple, samples, given, progress)
    keep = hazards.unsafe_nodes(findings)
    return Inspection(
        model=path,
        frontend=_FRONTENDS.get(path.suffix.lower(), path.suffix.lstrip(".")),
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        opset=_opset(path, loaded),
        read_as=loaded.opset_imports.get("", 0),
        size_bytes=file_bytes(path),
        facts=facts(loaded),
        coverage=tuple(coverage(simple, engine) for engine in ENGINES.values()),
        samples=len(samples) if given else 0,
        findings=findings,
        keep=tuple(name for node in simple.graph if (name := queries.node_name(node)) in keep),
        nodes=len(simple.graph),
        run=run,
        mixed=mixed,
        warnings=tuple(progress.warnings),
    )


def _look(
    model: ir.Model, samples: list[Sample], given: bool, progress: Progress
) -> tuple[tuple[Finding, ...], HalfRun | None, HalfRun | None]:
    """The findings, the run in FP16, and the run with the unsafe nodes in FP32."""
    if not samples or qdq.is_quantized(model):
        return hazards.check(model), None, None
    try:
        findings = hazards.check(model, observe(model, samples) if given else None)
        few = samples[:RUN_SAMPLES]
        progress.step("running with FP16 rounding")
        run = half_run(model, few, given=given)
        findings = (*confirmed(findings, run), *unexplained(findings, run))
        keep = hazards.unsafe_nodes(findings)
        return findings, run, half_run(model, few, given=given, keep=keep) if keep else None
    except (EngineError, ValueError) as error:
        progress.warn(f"the model could not be run, so hazards are judged by its structure alone: {error}")
        return hazards.check(model), None, None


def _samples(model: ir.Model, path: Path, data: DataOptions | None, progress: Progress) -> list[Sample]:
    if data is None or data.data is None:
        return []
    check_model(model, path)
    dataset = open_test_data(data, queries.specs(model.graph.inputs), progress)
    dataset = take(dataset, min(data.samples or RANGE_SAMPLES, len(dataset)), data.seed)
    bad = BadSamples()
    found = list(itertools.islice(stream(dataset, workers=2, on_bad=bad), len(dataset)))
    if len(bad):
        progress.warn(bad.sentence("given"))
    return found


def _opset(path: Path, model: ir.Model) -> int:
    """The operator set the file was written in, where it is an ONNX file."""
    if path.suffix.lower() == ".onnx":
        for entry in read_proto(path).opset_import:
            if entry.domain in ("", "ai.onnx"):
                return int(entry.version)
    return model.opset_imports.get("", 0)
