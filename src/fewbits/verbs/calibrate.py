"""``calibrate``: FP32 model and calibration samples in, INT8 model out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx_ir as ir

from fewbits.calibration.collect import fingerprint
from fewbits.calibration.statistics import Statistics, check_method
from fewbits.data import first, stream, take
from fewbits.engines import ENGINES, Engine, Options, named
from fewbits.engines.ir_file import save_ir
from fewbits.errors import EngineError, InputError
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
from fewbits.quantization.tune import Tuned, build, samples_needed
from fewbits.verbs.calibration_run import CalibrationRun
from fewbits.verbs.inputs import (
    DataOptions,
    check_kept,
    check_model,
    open_model,
    open_test_data,
    refuse_quantized,
)
from fewbits.verbs.ir_2019 import SIZE_NOTE, check_layers, check_version, save_2019, values_to_state
from fewbits.verbs.judgement import judge
from fewbits.verbs.place import place
from fewbits.verbs.standard import Standard, begin_standard, set_aside
from fewbits.verbs.weak_spots import stretching_sample, worst_layer


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
        InputError: the model, the data or an option is wrong, ``out`` cannot be written, or the engines it is for do
            not run it, or do not compute what it says.
        UselessModelError: the INT8 model computes something else than the FP32 model; nothing is written.
    """
    start = time.monotonic()
    progress = progress or Progress()
    source, out = Source.of(model), Path(out)
    check_method(method)
    check_version(ir_version, out)
    target, where = _target(out, engine), place("all", device)
    check_kept(out, source)
    loaded = open_model(source, progress)
    refuse_quantized(loaded, source.path)
    check_model(loaded, source.path, data, progress)
    check_place(out)
    simple = simplify(loaded)
    if ir_version is not None:
        check_layers(simple, ir_version)
        progress.warn(SIZE_NOTE.format(name=out.with_suffix(".bin").name))
    whole = open_test_data(data, queries.specs(loaded.graph.inputs), progress)
    dataset = whole if data.samples is None else take(whole, data.samples, data.seed)
    dataset, judged = set_aside(dataset, whole)
    recipe = _recipe(simple, method, correct, keep_float, where.weight_bits, progress)
    options = Options(where.device, threads=threads)
    names = values_to_watch(simple, recipe, [target.capability])
    if ir_version is not None:
        names = list(dict.fromkeys([*names, *values_to_state(simple)]))
    wanted = [target] if out.suffix == ".xml" else [e for e in named(engine) if e in where.engines] or [target]
    standing = begin_standard(source.path, simple, judged, [*dict.fromkeys([*where.engines[:1], *wanted])], options)
    work = CalibrationRun(simple, names, dataset, where.engines, options, progress, standing)
    with _engines_refusals(source.path):
        known = _read(simple, names, statistics, progress)
        if known is None:
            known = work.collect(samples_needed(recipe))
            if statistics is not None:
                known.save(Path(statistics))
        elif recipe.needs_samples:
            work.samples = first(stream(dataset, workers=2), samples_needed(recipe))
        standard = standing.result()
        wanted = _usable(wanted, standard, out, progress)
    with no_collections(), _engines_refusals(source.path):
        tuned = work.tune(known, recipe, target)

        def why() -> tuple[str, str]:
            runner = work.fast_engine()
            layer = worst_layer(tuned, standard.samples[:2], runner, options)
            return layer, stretching_sample(tuned, dataset, runner, options)

        with whole_folder(out) as scratch:
            files = _write(tuned, scratch / out.name, ir_version)
            outputs = () if ir_version else judge(scratch / out.name, standard, wanted, options, why, progress)
    if not tuned.plan.weights:
        progress.warn("nothing was quantized: no layer of this model can run in INT8 under this recipe")
    return Calibrated(
        out,
        tuple(out.with_name(name) for name in files),
        time.monotonic() - start,
        peak_rss_bytes(),
        known.count,
        tuned.recipe,
        tuned.sqnr_db,
        tuned.plan,
        outputs,
        len(standard.samples) if outputs else 0,
        standard.said,
    )


@contextlib.contextmanager
def _engines_refusals(path: Path) -> Iterator[None]:
    """A model that the engines refuse is the person's input, not a fault of fewbits."""
    try:
        yield
    except EngineError as error:
        fix = error.fix or "choose the other engine with --engine, or keep layers in float (--keep-float)"
        raise InputError(error.what, where=error.where or str(path), fix=fix) from error


def _recipe(
    model: ir.Model, method: str, correct: str, keep_float: tuple[str, ...], weight_bits: int, progress: Progress
) -> Recipe:
    for glob in keep_float:
        if not any(map(Rule(glob, "float").matches_node, model.graph)):
            progress.warn(f"--keep-float '{glob}' matches no node and no operator type")
    rules = (Rule("*", "int8"), *(Rule(glob, "float") for glob in keep_float))
    return Recipe(method=method, rules=rules, corrections=corrections(correct), weight_bits=weight_bits)


def _usable(wanted: list[Engine], standard: Standard, out: Path, progress: Progress) -> list[Engine]:
    """Of the engines that are to run the file those that compute what the model says.

    Raises:
        InputError: none does.
    """
    usable = [engine for engine in wanted if engine.name not in standard.out]
    for engine in wanted if usable else ():
        if engine not in usable:
            progress.warn(f"{out.name} is not for {engine.name}: {standard.out[engine.name]}")
    if not usable:
        fix = "write OUT.onnx with --engine onnxruntime" if wanted[0].name == "openvino" else "try --engine openvino"
        raise InputError(standard.out[wanted[0].name], where=wanted[0].name, fix=fix)
    return usable


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


def _write(tuned: Tuned, target: Path, ir_version: int | None) -> list[str]:
    """The model, its statistics and its recipe in the target's folder; their names, the model's first."""
    if ir_version is not None:
        save_2019(tuned, target, ir_version)
    elif target.suffix == ".xml":
        model = build(tuned)
        layers = {queries.node_name(node): dict(node.metadata_props) for node in model.graph if node.metadata_props}
        save_ir(model, target, layers=layers)
    else:
        save_onnx(build(tuned), target)
    tuned.statistics.save(target.with_name(f"{target.stem}.statistics.npz"))
    write_text(target.with_name(f"{target.stem}.recipe.toml"), tuned.recipe.to_toml())
    return sorted((file.name for file in target.parent.iterdir()), key=lambda name: (name != target.name, name))
