"""``compare``: two versions of a model layer by layer - where does the difference come from?"""

from __future__ import annotations

from pathlib import Path

from fewbits.data import stream, take
from fewbits.engines import TRIALS, Options
from fewbits.errors import InputError
from fewbits.files import check_place
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.measurement.comparison import Comparison
from fewbits.measurement.layers import compare_values, float_values, shared_values, with_outputs
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.report.page import write_comparison
from fewbits.verbs.inputs import DataOptions, about, check_model, open_model, open_test_data
from fewbits.verbs.place import place
from fewbits.verbs.running import running

_DEFAULT_SAMPLES = 16


def compare(
    reference: str | Path | Source,
    other: str | Path | Source,
    data: DataOptions,
    *,
    device: str = "CPU",
    report: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run both models on the same samples and compare every activation they have in common.

    Activations match by name; both models are simplified first, so that an FP32 model matches the INT8 model
    made from it. A quantized activation is compared as its readers see it, after DequantizeLinear.

    Args:
        report: a page of HTML to write with what was found.

    Raises:
        InputError: a model, the data or the device is wrong, or the models have nothing in common.
        OutputError: the report cannot be written.
    """
    progress = progress or Progress()
    if report is not None:
        check_place(Path(report))
    where = place("all", device)
    one, two = Source.of(reference), Source.of(other)
    base, version = (open_model(source, progress) for source in (one, two))
    check_model(base, one.path, data, progress)
    check_model(version, two.path, data, Progress())
    base, version = simplify(base), simplify(version)
    inputs = queries.specs(base.graph.inputs)
    if [(s.name, s.single) for s in queries.specs(version.graph.inputs)] != [(s.name, s.single) for s in inputs]:
        raise InputError(
            "its inputs differ from the reference's", where=str(two.path), fix="compare versions of one model"
        )
    dataset = take(open_test_data(data, inputs, progress), data.samples or _DEFAULT_SAMPLES, data.seed)
    shared = shared_values(base, version)
    if not shared:
        raise InputError("the models have no activation in common", where=str(two.path))
    options, sample = Options(where.device), next(iter(stream(dataset, workers=1)))
    wide = with_outputs(base, [value.name for value in shared]), with_outputs(version, [v.other for v in shared])
    able = running(wide[0], one.path, where.engines, options, sample).able
    able = running(wide[1], two.path, able, options, sample).able
    # Where several engines run both, ONNX Runtime is first choice: it gives every value as the file names it.
    engine = sorted(able, key=lambda e: e.name != TRIALS.name)[0]
    with about(one.path):
        expecting = engine.compile(wide[0], options)
    with about(two.path):
        getting = engine.compile(wide[1], options)
    rows, count = compare_values(
        base,
        shared,
        (expecting, getting),
        stream(dataset, workers=2),
        progress=lambda done: progress.step("comparing", done, len(dataset)),
    )
    final = {v.name for v in base.graph.outputs}
    result = Comparison(
        one.path,
        two.path,
        count,
        tuple(row for row in rows if row.value not in final),
        tuple(row for row in rows if row.value in final),
        len(float_values(base)) - len(shared),
    )
    if report is not None:
        write_comparison(result, Path(report))
    return result
