"""``measure``: speed, memory, size, executed formats, and accuracy where there is data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fewbits.data import BadSamples, stream, take
from fewbits.devices.host import detect
from fewbits.engines import ENGINES, Arrays, Session
from fewbits.errors import EngineError, InputError, ModelError
from fewbits.frontends.source import Source
from fewbits.measurement.evaluate import MODES_DIFFER, evaluate
from fewbits.measurement.memory import measure_memory
from fewbits.measurement.metrics import Agreement
from fewbits.measurement.records import Accuracy, MeasuredModel, Measurement, Measurements, Memory, Subject
from fewbits.measurement.speed import time_sessions
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, choose_metric, open_test_data
from fewbits.verbs.place import place
from fewbits.verbs.sanity import warn_of_slips
from fewbits.verbs.subjects import subjects


def measure(
    models: Sequence[str | Path | Source],
    data: DataOptions | None = None,
    *,
    engine: str = "all",
    device: str = "CPU",
    engine_options: tuple[str, ...] = (),
    precision: str = "f32",
    threads: int | None = None,
    rounds: int = 15,
    progress: Progress | None = None,
) -> Measurements:
    """Measure models side by side; agreement is with the first one.

    Args:
        models: any that a frontend reads. ONNX files, and IR on OpenVINO, are measured as they are; the others are
            converted to ONNX first. Sizes are those of the files given, weights included.
        engine_options: the engine's own settings, each as ``KEY=VALUE``.
        precision: what floating point executes in: f32, bf16 or f16.

    Raises:
        InputError: a model or the data is wrong, or the engine cannot do what was asked.
        EngineError: an engine failed on a model.
    """
    progress = progress or Progress()
    sources = list(dict.fromkeys(Source.of(model) for model in models))
    if not sources:
        raise InputError("no model given", where="measure", fix="name one or more")
    where = place(engine, device, engine_options)
    with tempfile.TemporaryDirectory(prefix="fewbits-") as name:
        given = {
            subject: source
            for source in sources
            for subject in subjects(source, engine, where, precision, threads, Path(name), progress, data)
        }
        return Measurements(detect(), _measured(given, data, rounds, progress, alone=engine != "all"))


def _measured(
    given: Mapping[Subject, Source], data: DataOptions | None, rounds: int, progress: Progress, *, alone: bool
) -> tuple[MeasuredModel, ...]:
    memory = _memory(tuple(given), progress, alone=alone)
    everything = tuple(subject for subject in given if subject.name in memory)
    latency = {s.name: ENGINES[s.engine].compile(s.path, s.options("latency")) for s in everything}
    throughput = {s.name: ENGINES[s.engine].compile(s.path, s.options("throughput")) for s in everything}
    feeds = {name: _feed(session) for name, session in latency.items()}
    accuracy: dict[str, Accuracy] = {}
    if data is not None and data.data is not None:
        accuracy = _accuracy(latency, throughput, data, feeds, progress)
    timing = time_sessions(
        latency,
        throughput,
        feeds,
        rounds=rounds,
        progress=lambda done, total: progress.step("speed", done, total),
    )
    found = []
    for subject in everything:
        profile = ENGINES[subject.engine].profile(subject.path, subject.options("latency"), feeds[subject.name])
        settings = {
            "latency": latency[subject.name].settings,
            "throughput": throughput[subject.name].settings,
        }
        measurement = Measurement(
            timing[subject.name],
            given[subject].size_bytes,
            memory[subject.name],
            profile.shares(),
            accuracy.get(subject.name),
            settings,
        )
        found.append(MeasuredModel(subject, measurement, given[subject].path))
    return tuple(found)


def _memory(everything: Sequence[Subject], progress: Progress, *, alone: bool) -> dict[str, Memory]:
    """Each in a process of its own; of a model on several engines, one that does not run it is left out with a warning.

    Raises:
        EngineError: no engine runs the model, or not the one that was asked for.
    """
    found, failed = {}, {}
    for index, subject in enumerate(everything):
        progress.step("memory", index, len(everything))
        try:
            found[subject.name] = measure_memory(subject)
        except EngineError as error:
            failed[subject.name] = error
    ran = {subject.path for subject in everything if subject.name in found}
    for subject in everything:
        if why := failed.get(subject.name):
            if alone or subject.path not in ran:
                raise ModelError(why.what, where=subject.name, fix=why.fix or "measure it on another engine")
            progress.warn(f"{subject.name}: left out: {why}")
    return found


def _feed(session: Session) -> Arrays:
    """Seeded noise in the shape of one sample; time does not depend on the numbers, as long as they are normal."""
    rng = np.random.default_rng(0)
    return {
        spec.name: (rng.random(spec.single) * (1.0 if spec.dtype.kind == "f" else 2.0)).astype(spec.dtype)
        for spec in session.inputs
    }


def _accuracy(
    latency: dict[str, Session],
    throughput: dict[str, Session],
    data: DataOptions,
    feeds: dict[str, Arrays],
    progress: Progress,
) -> dict[str, Accuracy]:
    """Accuracy in both modes, since both speeds are quoted; model inputs must be alike."""
    reference = next(iter(latency))
    first = latency[reference]
    for name, session in latency.items():
        if [(s.name, s.single) for s in session.inputs] != [(s.name, s.single) for s in first.inputs]:
            raise InputError(
                f"its inputs differ from those of {reference}, so they cannot share data",
                where=name,
                fix="measure them one by one",
            )
    dataset = open_test_data(data, first.inputs, progress)
    if data.samples is not None:
        dataset = take(dataset, data.samples, data.seed)
    metric = choose_metric(data, dataset, first.inputs, first.outputs)
    warn_of_slips(throughput[reference], dataset, metric, data.seed, progress)
    bad = BadSamples()
    evaluations = evaluate(
        latency | {f"{name} (throughput)": session for name, session in throughput.items()},
        reference,
        stream(dataset, workers=2, on_bad=bad),
        metric,
        progress=lambda done: progress.step("accuracy", done, len(dataset)),
    )
    if len(bad):
        progress.warn(bad.sentence("test"))
    feed = next(iter(stream(dataset, workers=1))).inputs
    feeds.update({name: dict(feed) for name in latency})
    for name, evaluation in evaluations.items():
        if evaluation.failure:
            raise EngineError(evaluation.failure, where=name)
    found = {}
    for name in latency:
        evidence, agreed = evaluations[name].evidence, evaluations[name].agreement
        score, other = metric.score(evidence), metric.score(evaluations[f"{name} (throughput)"].evidence)
        if abs(score - other) > MODES_DIFFER:
            progress.warn(f"{name}: {metric.name} is {score:.4f} in latency mode, {other:.4f} in throughput mode")
        agreement = None if agreed is None else Agreement().score(agreed)
        found[name] = Accuracy(metric.name, score, len(evidence), agreement)
    return found
