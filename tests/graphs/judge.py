"""Hold what fewbits writes for a graph against ONNX Runtime on the graph itself."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import fewbits
from fewbits.errors import FewbitsError
from fewbits.progress import Progress

from .generator import Drawn
from .measure import Apart, apart
from .openvino_run import run_openvino
from .reference import Arrays, Touch, eight_bits, outputs, rounding
from .sentences import bucket, line, place
from .steps import all_nodes, session

CALIBRATION, HELD_OUT = 8, 3
# Nothing below these is asked of a format, however little its rounding does; and by how much a file may be worse
# than the same graph with nothing but that rounding.
PLENTY_DB = {"fp32": 90.0, "fp16": 45.0, "bf16": 28.0, "int8": 30.0}
ALLOWANCE_DB = {"fp32": 20.0, "fp16": 12.0, "bf16": 12.0, "int8": 12.0}
USELESS_DB, POOR_DB = 4.0, 17.0
# A unit that rounding alone drowns says nothing about a file.
LEAST_UNIT_DB = 8.0
FULL_EVERY = 5
# Operators that give as many numbers as there are of a kind.
COUNTING = ("NonZero", "NonMaxSuppression", "Unique", "Compress")
FORMATS = ("fp32", "fp16", "bf16", "int8")


class NotJudgedError(Exception):
    """The graph is no test: its truth is not finite, or ONNX Runtime disagrees with itself about it."""


@dataclass(frozen=True)
class Verdict:
    """right, wrong, refused or fault; why; and how far it is from the truth where it was run."""

    file: str
    verdict: str
    why: str = ""
    sqnr_db: float = math.inf
    warned: bool = False

    @property
    def kind(self) -> str:
        """File, verdict and the sentence without what belongs to one graph."""
        return f"{self.file} {self.verdict} {bucket(self.why)}"


@dataclass
class Case:
    """A graph, its file, the samples fewbits gets and those it does not, and the truth of the latter."""

    drawn: Drawn
    folder: Path
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        drawn = self.drawn
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "graph.onnx"
        self.data = self.folder / "samples.npz"
        drawn.save(self.path)
        self.given = drawn.rows(rng, CALIBRATION)
        stack: dict[str, Any] = {
            i.name: (np.concatenate if i.batched else np.stack)([s[i.name] for s in self.given]) for i in drawn.inputs
        }
        np.savez(self.data, **stack)
        self.held = drawn.rows(rng, HELD_OUT)
        if drawn.other_sizes != drawn.first_sizes and any(isinstance(d, str) for i in drawn.inputs for d in i.dims):
            self.held.append(drawn.feed(rng, drawn.other_sizes))
        self.truth = self._truth()

    def _truth(self) -> list[Arrays]:
        try:
            made = session(self.path.read_bytes(), optimized=True)
            names = [port.name for port in made.get_outputs()]
            truth = [dict(zip(names, made.run(None, feed), strict=True)) for feed in self.held]
            again = outputs(self.drawn, self.held)
        except Exception as error:  # pybind raises several types of its own
            raise NotJudgedError(f"ONNX Runtime does not run it: {error}") from error
        if not all(np.isfinite(a).all() for sample in truth for a in sample.values() if a.dtype.kind == "f"):
            raise NotJudgedError("its outputs are not finite")
        found = apart(truth, again)
        if found.broken or found.sqnr_db < 60 or found.tipped:
            raise NotJudgedError(f"ONNX Runtime disagrees with itself: {found}")
        return truth

    def allowed(self, kind: str) -> Apart:
        """What rounding alone does to the held-out samples."""
        touch: Touch = self._eight_bits if kind == "int8" else rounding(kind, self.drawn)
        count = HELD_OUT if kind == "int8" else len(self.held)
        return apart(self.truth[:count], outputs(self.drawn, self.held[:count], touch))

    def fares_alike(self, found: Apart) -> bool:
        """Whether 8 bits of the same ranges do as poorly on these samples: those fewbits looked at may fare better."""
        return found.sqnr_db > POOR_DB / 2 and self.allowed("int8").sqnr_db < found.sqnr_db + 4

    @cached_property
    def _eight_bits(self) -> Touch:
        return eight_bits(self.drawn, self.given)

    def held_by(self, kind: str) -> list[Arrays]:
        """What a file is held on: calibrate fixes free sizes besides the batch to those of its samples, and says so."""
        free = any(isinstance(dim, str) and dim != "N" for i in self.drawn.inputs for dim in i.dims)
        return self.held[:HELD_OUT] if kind == "int8" and free else self.held

    def counted_alike(self, truth: Arrays, got: Arrays) -> Arrays:
        """8 bits may find another number of things: outputs counted by their numbers are the truth where they do."""
        return got | {n: truth[n] for n in self._counted if n in got and got[n].shape != truth[n].shape}

    @cached_property
    def _counted(self) -> set[str]:
        """What has a size that depends on numbers, all the way to the outputs."""
        found: set[str] = set()
        for step in self.drawn.steps:
            counts = any(node.op_type in COUNTING for node in all_nodes(step.nodes))
            if counts or found & set(step.inputs):
                found |= set(step.outputs)
        return found & set(self.drawn.outputs)

    def run_file(self, path: Path, held: Sequence[Arrays]) -> list[Arrays]:
        """Held-out samples through a file, in its engine, with its free sizes as they are."""
        if path.suffix == ".onnx":
            made = session(path.read_bytes(), optimized=True)
            names = [port.name for port in made.get_outputs()]
            return [dict(zip(names, made.run(None, feed), strict=True)) for feed in held]
        return run_openvino(path, held, self.drawn.outputs)


def hold(case: Case, path: Path, kind: str, warned: Sequence[str] = ()) -> Verdict:
    """Run a written file and judge it."""
    try:
        got = case.run_file(path, case.held_by(kind))
    except Exception as error:  # engines raise several types of their own
        return Verdict(path.name, "wrong", f"the file does not run: {line(error)}{_engine(case, path, kind)}")
    if kind == "int8":
        got = [case.counted_alike(one, other) for one, other in zip(case.truth, got, strict=False)]
    found = apart(case.truth[: len(got)], got)
    if kind == "int8" and not found.broken:  # ranges are those of batch 1; a graph may sum over the batch
        found = apart(case.truth[:HELD_OUT], got[:HELD_OUT])
    why = _complaint(case, kind, found, bool(warned))
    if why:
        why += _engine(case, path, kind)
    return Verdict(path.name, "wrong" if why else "right", why, found.sqnr_db, bool(warned))


def _complaint(case: Case, kind: str, found: Apart, warned: bool) -> str:
    if found.broken:
        return found.broken
    plenty, allowance = PLENTY_DB[kind], ALLOWANCE_DB[kind]
    if kind == "int8":
        if found.sqnr_db < USELESS_DB:
            return f"{found.sqnr_db:.1f} dB at {found.output} is useless and was not refused"
        if found.sqnr_db < POOR_DB and not warned and not case.fares_alike(found):
            return f"{found.sqnr_db:.1f} dB at {found.output} without a warning"
    if found.sqnr_db >= plenty and found.unit_db >= plenty - 25 and not (found.tipped and kind != "int8"):
        return ""
    try:
        allowed = case.allowed(kind)
    except Exception:  # sizes that depend on the numbers tip over as well
        return ""
    if allowed.broken or (warned and kind != "fp32"):
        return ""
    if found.sqnr_db < min(plenty, allowed.sqnr_db - allowance):
        return f"{found.sqnr_db:.1f} dB at {found.output}, rounding alone leaves {allowed.sqnr_db:.1f}"
    if allowed.unit_db >= LEAST_UNIT_DB and found.unit_db < min(plenty - 25, allowed.unit_db - allowance - 5):
        return f"{found.unit_db:.1f} dB in one unit, rounding alone leaves {allowed.unit_db:.1f}"
    more = {"fp32": 0.0, "fp16": 0.25, "bf16": 0.5, "int8": 0.6}[kind]
    if found.tipped > 3 * allowed.tipped + more:
        return f"{found.tipped:.0%} of integers differ, rounding alone tips {allowed.tipped:.0%}"
    return ""


def _engine(case: Case, path: Path, kind: str) -> str:
    """Whether OpenVINO makes the same of the graph itself: then the fault is that fewbits does not say so."""
    if path.suffix != ".xml":
        return ""
    try:
        found = apart(case.truth, run_openvino(case.path, case.held, case.drawn.outputs))
    except Exception as error:
        return f" [OpenVINO does not run the graph itself: {line(error)[:80]}]"
    bad = found.broken or found.sqnr_db < 60 or found.tipped
    return f" [OpenVINO on the graph itself: {found.broken or f'{found.sqnr_db:.1f} dB'}]" if bad else ""


def attempt(case: Case, name: str, kind: str, verb: Callable[[Path, Progress], object]) -> Verdict:
    """Let a verb write a file, and judge what comes of it."""
    path, progress = case.folder / name, Progress()
    with warnings.catch_warnings(record=True) as stray:
        warnings.simplefilter("always")
        try:
            verb(path, progress)
        except FewbitsError as error:
            verdict = "refused" if error.exit_code == 2 else "fault"
            return Verdict(name, verdict, str(error))
        except Exception as error:
            return Verdict(name, "fault", f"{type(error).__name__}: {line(error)} @ {place(error)}")
    if stray:
        first = stray[0]
        return Verdict(name, "fault", f"stray {first.category.__name__}: {first.message} @ {Path(first.filename).name}")
    try:
        return hold(case, path, kind, progress.warnings)
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".bin").unlink(missing_ok=True)


def judge(case: Case, formats: Sequence[str] = FORMATS) -> list[Verdict]:
    """Every format on both engines. For one graph in five calibrate chooses method and corrections: it takes long."""
    method, correct = ("auto", "auto") if case.seed % FULL_EVERY == 0 else ("minmax", "none")

    def convert(to: str) -> Callable[[Path, Progress], object]:
        return lambda path, progress: fewbits.convert(case.path, out=path, to=to, progress=progress)

    def calibrate(path: Path, progress: Progress) -> object:
        data = fewbits.DataOptions(data=case.data)
        return fewbits.calibrate(
            case.path, data, out=path, method=method, correct=correct, threads=1, progress=progress
        )

    found = []
    for kind in formats:
        for suffix in ("onnx",) if kind == "bf16" else ("onnx", "xml"):
            verb = calibrate if kind == "int8" else convert(kind)
            found.append(attempt(case, f"{kind}.{suffix}", kind, verb))
    return found
