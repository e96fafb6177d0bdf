"""Trying a device that is not here and takes FP16 only: its accuracy with FP16 arithmetic on the CPU, and its file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from fewbits.calibration.collect import fingerprint
from fewbits.data import BadSamples, stream
from fewbits.devices.host import detect
from fewbits.devices.records import Device
from fewbits.engines import TRIALS, Options
from fewbits.engines.ir_file import save_ir
from fewbits.errors import DataError, EngineError
from fewbits.files import make_folder, write_text
from fewbits.graph.files import file_bytes, save_onnx
from fewbits.measurement.evaluate import Evaluation, evaluate, until
from fewbits.measurement.interval import paired_drop
from fewbits.measurement.metrics import Agreement
from fewbits.measurement.records import Accuracy, Measurement, Timing
from fewbits.passes.rounded import in_fp16
from fewbits.progress import Progress
from fewbits.selection.decide import change, proof
from fewbits.selection.job import Job
from fewbits.selection.journal import CANDIDATES, MODEL_IR, Journal
from fewbits.selection.records import FORMATS, Budget, Candidate, Decision, Failed, Measured, Outcome, Refused

REFERENCE = "cpu-fp32"


def emulate(job: Job, device: Device, progress: Progress) -> Decision:
    """Measure FP32 and emulated FP16 on the same samples and decide by accuracy and size; no speed is taken.

    FP32 on the CPU is what FP16 is held against. It is never chosen, since the device cannot run it.

    Raises:
        EngineError: the model does not run, or the engine here does not round to FP16.
        OutputError: the results cannot be written.
    """
    start = time.monotonic()
    check_rounding()
    budget = replace(job.budget, objective="size")
    make_folder(job.folder)
    Journal(job.folder, f"emulation of {device.name}: {fingerprint(job.model)}", resume=False)
    plain = Candidate(REFERENCE, TRIALS.name, "fp32", "f32")
    half = Candidate(f"{device.name.lower()}-fp16", "emulated", "fp16", "f16")
    progress.step("building")
    files = {plain.name: f"{CANDIDATES}/fp32.onnx", half.name: f"{CANDIDATES}/fp16.xml"}
    save_onnx(job.model, job.folder / files[plain.name])
    save_ir(job.model, job.folder / files[half.name], fp16=True)
    graphs = {plain.name: job.model, half.name: in_fp16(job.model)}
    found = _judge(job, graphs, progress, start)
    outcomes: list[Outcome] = [_measured(plain, found, files, job, device), _outcome(half, found, files, job, device)]
    outcomes += refused(device, job.formats)
    chosen, reason, rejected = decide_emulated(outcomes, budget, device)
    return Decision(
        model=str(job.path),
        metric=job.metric.name,
        budget=budget,
        host=detect(),
        reference=plain.name,
        chosen=chosen,
        reason=reason,
        rejected=rejected,
        outcomes=tuple(outcomes),
        seconds=time.monotonic() - start,
        files=() if chosen is None else _deliver(job),
        warnings=tuple(progress.warnings),
        versions={TRIALS.name: TRIALS.version},
    )


def check_rounding() -> None:
    """Raise ``EngineError`` where the engine here does not round to FP16 between operators.

    60000 doubled is infinite in FP16; an engine that goes on in FP32 gives 30000 after a quarter of it.
    """
    text = """<ir_version: 8, opset_import: ["" : 17]>
    canary (float[1] x) => (float[1] y) <float[1] two = {2}, float[1] quarter = {0.25}, float[1] doubled>
    { doubled = Mul(x, two)  y = Mul(doubled, quarter) }"""
    session = TRIALS.compile(in_fp16(ir.from_onnx_text(text)), Options())
    if np.isfinite(session.run({"x": np.array([60000], np.float32)})["y"]).any():
        raise EngineError(f"{TRIALS.name} {TRIALS.version} does not round to FP16, so nothing can be emulated on it")


def refused(device: Device, formats: tuple[str, ...]) -> list[Refused]:
    """The formats asked for that the device cannot run, each with the reason from the table."""
    found = []
    for name in (f for f in FORMATS if f in formats and f not in ("fp32", "fp16")):
        fact = device.fact("int8" if name == "mixed" else name)
        label = "int8+bf16" if name == "mixed" else name
        candidate = Candidate(f"{device.name.lower()}-{label}", "emulated", name, "f32")
        found.append(Refused(candidate, f"{device.name}: {fact.reason}"))
    return found


def decide_emulated(
    outcomes: list[Outcome], budget: Budget, device: Device
) -> tuple[str | None, str, Mapping[str, str]]:
    """(chosen, reason, why not each of the others): FP16 where drop and size are inside the budget, else nothing."""
    plain, half = outcomes[0], outcomes[1]
    rejected = {o.candidate.name: o.reason for o in outcomes if not isinstance(o, Measured)}
    rejected[plain.candidate.name] = f"{device.name}: {device.fact('fp32').reason}; measured on the CPU for comparison"
    if not isinstance(half, Measured) or not isinstance(plain, Measured):
        return None, f"FP16 could not be emulated: {rejected[half.candidate.name]}", rejected
    drop = half.measurement.accuracy.drop if half.measurement.accuracy else None
    size, most = half.measurement.size_bytes, budget.max_size_bytes
    problem = ""
    if drop is None:
        problem = "its accuracy could not be measured"
    elif not drop.estimate <= budget.max_drop:
        problem = f"{change(drop)}, more than the {budget.max_drop * 100:g} allowed"
    elif most is not None and size > most:
        problem = f"is {size} bytes, more than the {most} allowed"
    if problem or drop is None:
        rejected[half.candidate.name] = problem
        return None, f"FP16, the only format {device.name} takes, does not fit the budget: it {problem}", rejected
    share = size / plain.measurement.size_bytes
    return (
        half.candidate.name,
        f"FP16 is the only format {device.name} takes; it {change(drop)} against FP32 and has {share:.0%} of its size; "
        f"{proof(drop, budget)}; its speed on {device.name} is unknown",
        rejected,
    )


def _judge(job: Job, graphs: Mapping[str, ir.Model], progress: Progress, start: float) -> dict[str, Evaluation]:
    deadline = None if job.time_budget_s is None else start + job.time_budget_s
    bad = BadSamples()
    # One run per thread: which of several samples comes first changes no number, and it is the quickest.
    options = Options(mode="throughput", threads=job.threads, extra=job.extra)
    sessions = {name: TRIALS.compile(graph, options) for name, graph in graphs.items()}
    samples = until(stream(job.test, workers=2, on_bad=bad), deadline)
    found = evaluate(
        sessions,
        REFERENCE,
        samples,
        job.metric,
        progress=lambda done: progress.step("accuracy", done, len(job.test)),
    )
    if len(bad):
        progress.warn(bad.sentence("test"))
    if not found[REFERENCE].evidence:
        raise DataError("no test sample could be read", where=job.test.name)
    return found


def _outcome(
    candidate: Candidate, found: Mapping[str, Evaluation], files: Mapping[str, str], job: Job, device: Device
) -> Outcome:
    failure = found[candidate.name].failure
    return Failed(candidate, failure) if failure else _measured(candidate, found, files, job, device)


def _measured(
    candidate: Candidate, found: Mapping[str, Evaluation], files: Mapping[str, str], job: Job, device: Device
) -> Measured:
    mine, metric = found[candidate.name], job.metric
    drop = None
    if candidate.name != REFERENCE:
        drop = paired_drop(metric, found[REFERENCE].evidence, mine.evidence, job.budget.confidence)
    accuracy = Accuracy(metric.name, metric.score(mine.evidence), len(mine.evidence), _agreement(mine), drop)
    notes: tuple[str, ...] = ()
    if candidate.format == "fp16":
        notes = (
            f"emulated on the CPU: every operator's result is rounded to FP16; the speed on {device.name} is unknown",
            f"{device.runs_on}",
        )
    measurement = Measurement(
        Timing.unknown(), file_bytes(job.folder / files[candidate.name]), accuracy=accuracy, notes=notes
    )
    return Measured(candidate, candidate.format, measurement, (files[candidate.name],))


def _agreement(evaluation: Evaluation) -> float | None:
    return None if evaluation.agreement is None else Agreement().score(evaluation.agreement)


def _deliver(job: Job) -> tuple[str, ...]:
    """The FP16 IR under a name of its own, with the preprocessing that belongs to it."""
    save_ir(job.model, job.folder / MODEL_IR[0], fp16=True)
    if job.test.preprocess is None:
        return MODEL_IR
    write_text(job.folder / "preprocess.toml", job.test.preprocess.to_toml())
    return (*MODEL_IR, "preprocess.toml")
