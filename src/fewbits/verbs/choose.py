"""``choose``: which formats should this model run in on this device?"""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path

from fewbits import __version__
from fewbits.data import stream
from fewbits.engines import TRIALS, Options
from fewbits.errors import InputError
from fewbits.files import write_text
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.quantization.recipe import Recipe
from fewbits.report.json_view import decision_json, dumps
from fewbits.report.page import REPORT, write_report
from fewbits.report.story import DECISION, read_story
from fewbits.selection.asked import ASKED, asked_of, write_asked
from fewbits.selection.closeup import look_closer
from fewbits.selection.emulation import emulate as run_emulated
from fewbits.selection.job import Job
from fewbits.selection.journal import NAME, RESULTS
from fewbits.selection.records import FORMATS, Budget, Decision
from fewbits.selection.run import run
from fewbits.verbs.command import command_line
from fewbits.verbs.inputs import (
    DataOptions,
    about,
    check_metric,
    check_model,
    choose_metric,
    open_both,
    open_model,
    refuse_quantized,
)
from fewbits.verbs.place import check_formats, emulated, place
from fewbits.verbs.running import running
from fewbits.verbs.sanity import check_fp32


def choose(
    model: str | Path | Source,
    data: DataOptions,
    *,
    out: str | Path = "fewbits-run",
    budget: Budget | None = None,
    engine: str = "all",
    device: str = "CPU",
    formats: tuple[str, ...] = FORMATS,
    engine_options: tuple[str, ...] = (),
    emulate: bool = False,
    threads: int | None = None,
    method: str = "auto",
    time_budget_s: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Decision:
    """Build, calibrate and measure every candidate, decide, and write the winner with the reasons.

    The folder ``out`` then holds ``model.onnx`` (the chosen model), ``decision.json``, ``report.html``, the
    candidates, the calibration statistics and the journal of the run.

    Args:
        engine_options: the engine's own settings, each as ``KEY=VALUE``.
        emulate: for a device that takes FP16 only and is not here: measure accuracy with FP16 arithmetic on this
            CPU and decide by accuracy and size. ``out`` then holds ``model.xml`` for that device, and no speed.

    Returns:
        The decision. ``chosen`` is None where nothing fits the budget.

    Raises:
        InputError: the model, the data or an option is wrong, or ``out`` cannot be written.
        EngineError: FP32 runs on no engine.
    """
    progress = progress or Progress()
    if not formats:
        raise InputError("no format is named", where="--formats", fix=f"some of {', '.join(FORMATS)}")
    budget = budget or Budget()
    stood_in = emulated(device, formats, budget) if emulate else None
    where = place(TRIALS.name, "CPU", engine_options) if stood_in else place(engine, device, engine_options)
    check_formats(where.device, formats)
    source = Source.of(model)
    loaded = open_model(source, progress)
    refuse_quantized(loaded, source.path)
    check_model(loaded, source.path, data, progress)
    _keep_inputs(Path(out), (*source.files, data.data, data.calibration_data, data.preprocess))
    inputs, outputs = queries.specs(loaded.graph.inputs), queries.specs(loaded.graph.outputs)
    test, calibration = open_both(data, inputs, progress)
    metric = choose_metric(data, test, inputs, outputs)
    progress.step("trying the model")
    how = Options(where.device, threads=threads, extra=where.extra)
    runs = running(loaded, source.path, where.engines, how, next(iter(stream(test, workers=1))))
    for name, why in runs.lacking.items():
        progress.warn(f"{name} does not run this model: {why}")
    check_metric(metric, loaded, test, source.path, runs.trials)
    with about(source.path):
        check_fp32(loaded, test, metric, data.seed, progress, time_budget_s, runs.trials)
    job = Job(
        path=source.path,
        original=loaded,
        model=simplify(loaded),
        test=test,
        calibration=calibration,
        metric=metric,
        budget=budget,
        folder=Path(out),
        engine=engine,
        device=where.device,
        extra=where.extra,
        formats=formats,
        threads=threads,
        recipe=Recipe(method=method, weight_bits=where.weight_bits),
        seed=data.seed,
        time_budget_s=time_budget_s,
        resume=resume,
        lacking=runs.lacking,
        trials=runs.trials,
    )
    again = command_line(
        "choose",
        source,
        data,
        **{key: value for key, value in asdict(budget).items() if key != "max_size_bytes" and value is not None},
        formats="" if formats == FORMATS else ",".join(formats),
        engine="" if engine == "all" else engine,
        device="" if device == "CPU" else device,
        engine_option=engine_options,
        emulate=emulate,
        threads=threads,
        method="" if method == "auto" else method,
        time_budget="" if time_budget_s is None else f"{time_budget_s:g}s",
        out=out,
    )
    write_asked(job.folder, asked_of(job, again, {"fewbits": __version__, "python": platform.python_version()}))
    with about(source.path):
        decision = run_emulated(job, stood_in, progress) if stood_in else run(job, progress)
    write_text(job.folder / DECISION, dumps(decision_json(decision)))
    look_closer(job, decision, progress)
    write_report(read_story(job.folder), job.folder / REPORT)
    return decision


def _keep_inputs(folder: Path, given: tuple[object, ...]) -> None:
    """Raise ``InputError`` where a result would be written over a file the person gave."""
    results = {(folder / name).resolve() for name in (*RESULTS, NAME, ASKED)}
    for file in given:
        if isinstance(file, str | Path) and Path(file).resolve() in results:
            raise InputError(f"a result would overwrite {file}", where="-o", fix="name another folder with -o")
