"""``calibrate``: FP32 model and calibration samples in, INT8 model out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from fewbits.calibration.collect import fingerprint
from fewbits.calibration.gather import gather
from fewbits.calibration.statistics import Statistics, check_method
from fewbits.data import Sample, first, stream, take
from fewbits.engines import ENGINES, TRIALS, Engine, Options, named
from fewbits.engines.ir_file import save_ir
from fewbits.errors import InputError
from fewbits.files import check_place, whole_folder, write_text
from fewbits.frontends.source import Source
from fewbits.garbage import no_collections
from fewbits.graph import queries
from fewbits.graph.files import save_onnx
from fewbits.measurement.memory import peak_rss_bytes
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.quantization.placement import values_to_watch
from fewbits.quantization.recipe import Recipe, Rule, corrections
from fewbits.quantization.records import Calibrated
from fewbits.quantization.truth import Truth
from fewbits.quantization.tune import Bench, Tuned, build, samples_needed, tune
from fewbits.verbs.inputs import (
    DataOptions,
    about,
    check_kept,
    check_model,
    open_model,
    open_test_data,
    refuse_quantized,
)
from fewbits.verbs.ir_2019 import SIZE_NOTE, check_layers, check_version, save_2019, values_to_state
from fewbits.verbs.place import place


def calibrate(
    model: str | Path | Source,
    data: DataOptions,
    *,
    out: str | Path,
    method: str = "auto",
    correct: str = "auto",
    keep_float: tuple[str, ...] = (),
    engine: str = "all",
    device: str = "CPU",
    threads: int | None = None,
    statistics: str | Path | None = None,
    ir_version: int | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Make an INT8 model: ``.onnx`` with QuantizeLinear/DequantizeLinear, or ``.xml`` as OpenVINO IR.

    Beside it stand the statistics it was made from and the recipe that makes it again.

    Args:
        method: auto, minmax, percentile, mse or entropy; auto measures which one costs least at the outputs.
        correct: auto, none, or corrections to make, separated by commas (see ``quantization.corrections``); auto
            keeps what helps of those that cost next to no time.
        keep_float: globs over node names and operator types that stay in floating point.
        engine: whose integer kernels to place quantizers for; ``all`` makes an ONNX file that both engines
            run in INT8, and for ``.xml`` means OpenVINO.
        statistics: a file to write the statistics to, or to read them from where it exists and fits the model.
        ir_version: 5, 6 or 7 for an IR of 2019: FP32 weights, statistics, and which layers run in INT8.

    Raises:
        InputError: the model, the data or an option is wrong, or ``out`` cannot be written.
        EngineError: the engine cannot run the model.
    """
    start = time.monotonic()
    progress = progress or Progress()
    source, out = Source.of(model), Path(out)
    check_method(method)
    check_version(ir_version, out)
    target, where = _target(out, engine), place("all", device)
    runner = where.engines[0]
    check_kept(out, source)
    loaded = open_model(source, progress)
    check_model(loaded, source.path)
    refuse_quantized(loaded, source.path)
    check_place(out)
    simple = simplify(loaded)
    if ir_version is not None:
        check_layers(simple, ir_version)
        progress.warn(SIZE_NOTE.format(name=out.with_suffix(".bin").name))
    dataset = open_test_data(data, queries.specs(loaded.graph.inputs), progress)
    if data.samples is not None:
        dataset = take(dataset, data.samples, data.seed)
    unmatched = [glob for glob in keep_float if not any(map(Rule(glob, "float").matches_node, simple.graph))]
    for glob in unmatched:
        progress.warn(f"--keep-float '{glob}' matches no node and no operator type")
    rules = (Rule("*", "int8"), *(Rule(glob, "float") for glob in keep_float))
    recipe = Recipe(method=method, rules=rules, corrections=corrections(correct), weight_bits=where.weight_bits)
    options = Options(where.device, threads=threads)
    names = values_to_watch(simple, recipe, [target.capability])
    if ir_version is not None:
        names = list(dict.fromkeys([*names, *values_to_state(simple)]))
    samples: list[Sample] = []
    bench_options = Options(threads=threads)
    truth = Truth(simple, TRIALS, bench_options)

    def watch(subject: ir.Model, keep: int = 0) -> Statistics:
        return gather(subject, names, dataset, runner, options, progress, samples, keep, truth.begin)

    with about(source.path):
        known = _read(simple, names, statistics, progress)
        if known is None:
            known = watch(simple, samples_needed(recipe))
            if statistics is not None:
                known.save(Path(statistics))
        elif recipe.needs_samples:
            samples = first(stream(dataset, workers=2), samples_needed(recipe))
        bench = Bench(TRIALS, bench_options, samples, watch, progress, truth)
    with no_collections():
        with about(source.path):
            tuned = tune(simple, known, recipe, target, bench)
        files = _write(tuned, out, ir_version)
    plan = tuned.plan
    if not plan.weights:
        progress.warn("nothing was quantized: no layer of this model can run in INT8 under this recipe")
    seconds = time.monotonic() - start
    return Calibrated(out, files, seconds, peak_rss_bytes(), known.count, tuned.recipe, tuned.sqnr_db, plan)


def _target(out: Path, engine: str) -> Engine:
    if out.suffix not in (".onnx", ".xml"):
        raise InputError(f"'{out}' is neither .onnx nor .xml", where="-o", fix="name OUT.onnx or OUT.xml")
    found = named(engine)
    if out.suffix == ".xml":
        if engine == "onnxruntime":
            raise InputError("ONNX Runtime does not read OpenVINO IR", where="-o", fix="name OUT.onnx")
        return ENGINES["openvino"]
    return ENGINES["onnxruntime"] if len(found) > 1 else found[0]


def _read(model: ir.Model, names: Sequence[str], path: str | Path | None, progress: Progress) -> Statistics | None:
    """The statistics in that file, where there is one and it fits."""
    if path is None or not Path(path).exists():
        return None
    known = Statistics.load(Path(path))
    if known.model == fingerprint(model) and set(names) <= {*known.values, *known.unusable}:
        return known
    progress.warn(f"{path} belongs to another model or recipe; collecting anew")
    return None


def _write(tuned: Tuned, out: Path, ir_version: int | None) -> tuple[Path, ...]:
    """The model, its statistics and its recipe: all of them or none."""
    with whole_folder(out) as scratch:
        target = scratch / out.name
        if ir_version is not None:
            save_2019(tuned, target, ir_version)
        elif out.suffix == ".xml":
            model = build(tuned)
            layers = {queries.node_name(node): dict(node.metadata_props) for node in model.graph if node.metadata_props}
            save_ir(model, target, layers=layers)
        else:
            save_onnx(build(tuned), target)
        tuned.statistics.save(target.with_name(f"{out.stem}.statistics.npz"))
        write_text(target.with_name(f"{out.stem}.recipe.toml"), tuned.recipe.to_toml())
        names = sorted((file.name for file in scratch.iterdir()), key=lambda name: (name != out.name, name))
    return tuple(out.with_name(name) for name in names)
