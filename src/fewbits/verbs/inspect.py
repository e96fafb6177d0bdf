"""``inspect``: what is in a model, what of it can be quantized, and where FP16 or BF16 would go wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx_ir as ir

from fewbits import hazards
from fewbits.data import BadSamples, Sample, stream, take
from fewbits.engines import ENGINES
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.graph.quantized import is_quantized
from fewbits.graph.vocabulary import vocabulary
from fewbits.inspection.coverage import coverage
from fewbits.inspection.facts import facts
from fewbits.inspection.records import Inspection
from fewbits.measurement.deviation import random_feeds
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, check_model, open_model, open_test_data

# Ranges settle within a few dozen samples.
RANGE_SAMPLES = 64


def inspect(
    model: str | Path | Source, data: DataOptions | None = None, *, progress: Progress | None = None
) -> Inspection:
    """Read a model and say what is in it; nothing is written.

    Args:
        data: samples for the ranges of activations and for the FP16 run; at most ``samples`` of them (64 if not
            said). Without data the run is on random numbers, and no range is judged.

    Raises:
        InputError: the model or the data is wrong.
    """
    progress = progress or Progress()
    source = Source.of(model)
    path = source.path
    loaded = open_model(source, progress)
    samples = _samples(loaded, path, data, progress)
    simple = simplify(loaded)
    given = bool(samples)
    inputs = queries.specs(simple.graph.inputs)
    if not given and not any(None in spec.shape[1:] or 0 in spec.shape for spec in inputs):
        samples = [Sample("random", random_feeds(inputs, vocabulary(simple), 1)[0])]
    quantized = is_quantized(loaded)
    found = hazards.survey(simple, [] if quantized else samples, progress, given=given)
    return Inspection(
        model=path,
        frontend=loaded.meta["frontend"],
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        opset=loaded.meta.get("opset", loaded.opset_imports.get("", 0)),
        read_as=loaded.opset_imports.get("", 0),
        size_bytes=source.size_bytes,
        facts=facts(loaded),
        coverage=tuple(coverage(simple, engine, quantized=quantized) for engine in ENGINES.values()),
        samples=len(samples) if given else 0,
        findings=found.findings,
        keep=tuple(name for node in simple.graph if (name := queries.node_name(node)) in found.keep),
        nodes=len(simple.graph),
        run=found.run,
        mixed=found.mixed,
        warnings=tuple(progress.warnings),
    )


def _samples(model: ir.Model, path: Path, data: DataOptions | None, progress: Progress) -> list[Sample]:
    if data is None or data.data is None:
        return []
    check_model(model, path, data, progress)
    dataset = open_test_data(data, queries.specs(model.graph.inputs), progress)
    dataset = take(dataset, min(data.samples or RANGE_SAMPLES, len(dataset)), data.seed)
    bad = BadSamples()
    found = list(itertools.islice(stream(dataset, workers=2, on_bad=bad), len(dataset)))
    if len(bad):
        progress.warn(bad.sentence("given"))
    return found
