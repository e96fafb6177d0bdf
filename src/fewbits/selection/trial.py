"""Putting built candidates to the test: memory, accuracy, speed, executed formats. Every result is journalled."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from fewbits.data import BadSamples, Dataset, Sample, stream
from fewbits.engines import ENGINES, Mode, Session
from fewbits.errors import DataError, EngineError, FewbitsError, UnsupportedError
from fewbits.measurement.evaluate import Evaluation, evaluate
from fewbits.measurement.memory import measure_memory
from fewbits.measurement.metrics import Metric, from_json, to_json
from fewbits.measurement.oracle import check_against_oracle
from fewbits.measurement.records import Memory, Subject, Timing
from fewbits.measurement.speed import time_sessions
from fewbits.progress import Progress
from fewbits.selection.journal import Journal

_MODES: tuple[Mode, ...] = ("latency", "throughput")
_ORACLE_SAMPLES = 2


@dataclass
class Trial:
    """Everything found out about each subject so far.

    ``failures`` holds those that are out, and why; ``withheld`` modes that compute something else than the model
    says although the other mode is sound: the speed of such a mode is not quoted.
    """

    subjects: dict[str, Subject]
    journal: Journal
    progress: Progress
    failures: dict[str, str] = field(default_factory=dict)
    withheld: dict[tuple[str, Mode], str] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    evidence: dict[tuple[str, Mode], Evaluation] = field(default_factory=dict)
    timing: dict[str, Timing] = field(default_factory=dict)
    executed: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def alive(self) -> list[str]:
        """The subjects that are still in."""
        return [name for name in self.subjects if name not in self.failures]

    def weigh(self) -> None:
        """Peak memory in a process of its own. A model that brings its engine down does so there, not here."""
        for index, name in enumerate(self.alive()):
            self.progress.step("memory", index, len(self.subjects))
            known = self.journal.get("memory", name)
            if known is None:
                try:
                    memory = measure_memory(self.subjects[name])
                    known = {"baseline": memory.baseline_bytes, "peak": memory.peak_bytes}
                except EngineError as error:
                    known = {"failure": str(error)}
                self.journal.put("memory", name, known)
            if "failure" in known:
                self.failures[name] = known["failure"]
            else:
                self.memory[name] = Memory(known["baseline"], known["peak"])

    def check_fp32(self, model: ir.Model, data: Dataset, names: Sequence[str], decisive: Mode) -> None:
        """FP32 must compute what the model says before anything is compared; ``decisive`` is the mode asked for."""
        names = [name for name in names if name in self.alive()]
        self.progress.step("checking FP32 against the ONNX reference evaluator")
        samples = list(itertools.islice(stream(data, workers=1), _ORACLE_SAMPLES))
        sessions = {f"{name} {mode}": s for name in names for mode in _MODES if (s := self._open(name, mode))}
        try:
            faulty = check_against_oracle(model, sessions, samples).faulty()
        except EngineError as error:
            self.progress.warn(f"FP32 could not be checked: {error}")
            return
        finally:
            _close(sessions.values())
        for name in names:
            wrong = {mode: faulty[f"{name} {mode}"] for mode in _MODES if f"{name} {mode}" in faulty}
            for mode, sentence in wrong.items():
                self.progress.warn(f"{name} in {mode} mode {sentence}")
                if mode == decisive:
                    self.failures[name] = f"in {mode} mode it {sentence}"
                else:
                    self.withheld[name, mode] = sentence

    def judge(self, reference: str, data: Dataset, metric: Metric, bad: BadSamples, deadline: float | None) -> None:
        """Accuracy of every subject in both modes, in as few passes over the data as memory allows."""
        for name in self.alive():
            for mode in _MODES:
                known = self.journal.get("evidence", f"{name} {mode}")
                if known is not None:
                    self.evidence[name, mode] = _evaluation(known)
        todo = [(n, m) for n in self.alive() for m in _MODES if (n, m) not in self.evidence]
        for group in self._groups(todo):
            self._judge_group(reference, group, data, metric, bad, deadline)
        for name in self.alive():
            failure = next((f for m in _MODES if (f := self.evidence[name, m].failure)), "")
            if failure:
                self.failures[name] = failure

    def align(self) -> int:
        """Cut all evidence to the samples that every subject has seen, so that it stays paired; their number.

        A time budget ends each pass at another sample, and a resumed run may have another budget.
        """
        common = min((len(self.evidence[n, m].evidence) for n in self.alive() for m in _MODES), default=0)
        for name in self.alive():
            for mode in _MODES:
                evaluation = self.evidence[name, mode]
                agreement = None if evaluation.agreement is None else evaluation.agreement[:common]
                self.evidence[name, mode] = Evaluation(evaluation.evidence[:common], agreement, evaluation.failure)
        return common

    def _judge_group(
        self,
        reference: str,
        group: list[tuple[str, Mode]],
        data: Dataset,
        metric: Metric,
        bad: BadSamples,
        deadline: float | None,
    ) -> None:
        base = (reference, _MODES[0])
        sessions: dict[str, Session] = {}
        for name, mode in dict.fromkeys([base, *group]):
            session = self._open(name, mode)
            if session is not None:
                sessions[f"{name} {mode}"] = session
        if f"{reference} {_MODES[0]}" not in sessions:
            raise EngineError(f"the reference {reference} cannot be compiled: {self.failures.get(reference)}")
        try:
            found = evaluate(
                sessions,
                f"{reference} {_MODES[0]}",
                until(stream(data, workers=2, on_bad=bad), deadline),
                metric,
                progress=lambda done: self.progress.step("accuracy", done, len(data)),
            )
        finally:
            _close(sessions.values())
        for name, mode in group:
            if (evaluation := found.get(f"{name} {mode}")) is not None:
                if not evaluation.evidence and not evaluation.failure:
                    raise DataError("no test sample could be read", where=data.name)
                self.evidence[name, mode] = evaluation
                self.journal.put("evidence", f"{name} {mode}", _evaluation_json(evaluation))

    def _groups(self, todo: list[tuple[str, Mode]]) -> list[list[tuple[str, Mode]]]:
        """As many subjects at once as fit into half of the free memory, by the peaks that were measured."""
        room = _free_bytes() // 2
        groups: list[list[tuple[str, Mode]]] = [[]]
        used = 0
        for name, mode in todo:
            memory = self.memory.get(name)
            need = memory.peak_bytes - memory.baseline_bytes if memory else 0
            if groups[-1] and used + need > room:
                groups.append([])
                used = 0
            groups[-1].append((name, mode))
            used += need
        return [group for group in groups if group]

    def clock(self, sample: Sample, rounds: int, turn_s: float, seed: int) -> None:
        """Speed of all subjects against each other; one piece of work, since only rounds in common are pairs."""
        names = self.alive()
        key = " ".join(names)
        known = self.journal.get("speed", key)
        if known is None:
            opened = {mode: {name: s for name in names if (s := self._open(name, mode))} for mode in _MODES}
            both = [name for name in names if all(name in opened[mode] for mode in _MODES)]
            try:
                timing = time_sessions(
                    {name: opened["latency"][name] for name in both},
                    {name: opened["throughput"][name] for name in both},
                    {name: dict(sample.inputs) for name in both},
                    rounds=rounds,
                    turn_s=turn_s,
                    seed=seed,
                    progress=lambda done, total: self.progress.step("speed", done, total),
                )
            finally:
                _close(s for sessions in opened.values() for s in sessions.values())
            self.journal.put("settings", key, self.settings)
            known = {
                name: {
                    "samples": t.samples_ms.tolist(),
                    "ms": t.round_ms.tolist(),
                    "fps": t.round_fps.tolist(),
                }
                for name, t in timing.items()
            }
            self.journal.put("speed", key, known)
        self.settings = self.journal.get("settings", key) or self.settings
        self.timing = {
            n: Timing(np.array(t["samples"]), np.array(t["ms"]), np.array(t["fps"])) for n, t in known.items()
        }

    def look_inside(self, sample: Sample) -> None:
        """The formats each subject's kernels computed in, from the engine's own profile."""
        for index, name in enumerate(self.alive()):
            self.progress.step("profile", index, len(self.subjects))
            known = self.journal.get("executed", name)
            if known is None:
                subject = self.subjects[name]
                try:
                    profile = ENGINES[subject.engine].profile(
                        subject.path, subject.options("latency"), dict(sample.inputs)
                    )
                    known = profile.shares()
                except FewbitsError as error:
                    self.progress.warn(f"{name}: no profile: {error}")
                    known = {}
                self.journal.put("executed", name, known)
            self.executed[name] = known
            if name.endswith("-fp32") and (low := known.keys() & {"bf16", "f16", "i8"}):
                self.failures[name] = f"FP32 was asked for, but the engine executed {', '.join(sorted(low))}"

    def _open(self, name: str, mode: Mode) -> Session | None:
        """A session, or None after noting why there is none."""
        subject = self.subjects[name]
        try:
            session = ENGINES[subject.engine].compile(subject.path, subject.options(mode))
        except (EngineError, UnsupportedError) as error:
            self.failures[name] = str(error)
            return None
        self.settings.setdefault(name, {})[mode] = dict(session.settings)
        return session


def _close(sessions: Any) -> None:
    for session in sessions:
        session.close()


def until(samples: Iterator[Sample], deadline: float | None) -> Iterator[Sample]:
    """At least one sample, and then as many as the time budget leaves."""
    for sample in samples:
        yield sample
        if deadline is not None and time.monotonic() > deadline:
            return


def _free_bytes() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 4 << 30


def _evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    agreement = evaluation.agreement
    return {
        "evidence": [to_json(e) for e in evaluation.evidence],
        "agreement": None if agreement is None else [to_json(e) for e in agreement],
        "failure": evaluation.failure,
    }


def _evaluation(known: dict[str, Any]) -> Evaluation:
    agreement = known["agreement"]
    return Evaluation(
        [from_json(e) for e in known["evidence"]],
        None if agreement is None else [from_json(e) for e in agreement],
        known["failure"],
    )
