"""Hold what fewbits writes for a graph against ONNX Runtime on the graph itself."""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import fewbits
from fewbits.errors import FewbitsError
from fewbits.libraries import openvino
from fewbits.progress import Progress

from .generator import Drawn
from .measure import Apart, apart
from .reference import Arrays, Touch, eight_bits, outputs, rounding
from .steps import session

CALIBRATION, HELD_OUT = 8, 3
# Nothing below these is asked of a format, however little its rounding does; and by how much a file may be worse
# than the same graph with nothing but that rounding.
PLENTY_DB = {"fp32": 90.0, "fp16": 45.0, "bf16": 28.0, "int8": 30.0}
ALLOWANCE_DB = {"fp32": 20.0, "fp16": 12.0, "bf16": 12.0, "int8": 12.0}
USELESS_DB, POOR_DB = 4.0, 17.0
# A unit that rounding alone drowns says nothing about a file.
LEAST_UNIT_DB = 8.0
FULL_EVERY = 5
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


_PLACES = (
    (r"\S*graph\.onnx: |\S*(fp32|fp16|bf16)\.(onnx|xml): ", ""),
    (r"\(/[^()]*\)|\S*/\S*/\S*", "…"),
    (r"(while running \w+).*", r"\1"),
    (r"wasn't fully converted\..*", "wasn't fully converted"),
    (r"-?(inf|\d+\.\d+) dB at \S+", "# dB"),
    (
        r"\b(input|output|node|Name:|name|value|shape of|of input|array|definition of) ('[^']*'|\(\S*\)|[\w./:-]+)",
        r"\1 …",
    ),
    (r"--input-shape \S+", "--input-shape …"),
    (r"\[[\d, N]*\]", "[…]"),
    (r"-?\d+(\.\d+)?(e-?\d+)?", "#"),
)


def bucket(why: str) -> str:
    """A sentence without names, numbers and shapes."""
    for pattern, text in _PLACES:
        why = re.sub(pattern, text, why)
    return why[:170]


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
        stack = {
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
        touch: Touch = self._eight_bits if kind == "int8" else rounding(kind)
        return apart(self.truth, outputs(self.drawn, self.held, touch))

    @cached_property
    def _eight_bits(self) -> Touch:
        return eight_bits(self.drawn, self.given)

    def run_file(self, path: Path) -> list[Arrays]:
        """The held-out samples through a file, in its engine, with its free sizes as they are."""
        if path.suffix == ".onnx":
            made = session(path.read_bytes(), optimized=True)
            names = [port.name for port in made.get_outputs()]
            return [dict(zip(names, made.run(None, feed), strict=True)) for feed in self.held]
        return run_openvino(path, self.held, self.drawn.outputs)


def run_openvino(path: Path, feeds: Sequence[Arrays], names: Sequence[str]) -> list[Arrays]:
    """In FP32 arithmetic, on one thread; outputs under the names of the graph."""
    core = openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.read_model(str(path))
    ports = {_named(port.names, feeds[0]): port for port in model.inputs}
    order = [_named(port.names, names) for port in model.outputs]
    places = {name: index for index, name in enumerate(ports)}
    compiled = core.compile_model(model, "CPU", settings)
    found = []
    for feed in feeds:
        got = compiled({places[name]: array for name, array in feed.items() if name in places})
        found.append({name: np.array(got[index]) for index, name in enumerate(order)})
    return found


def _named(names: Any, known: Any) -> str:
    return next((str(name) for name in sorted(names) if name in known), ",".join(sorted(names)))


def hold(case: Case, path: Path, kind: str, warned: Sequence[str] = ()) -> Verdict:
    """Run a written file and judge it."""
    try:
        got = case.run_file(path)
    except Exception as error:  # engines raise several types of their own
        return Verdict(path.name, "wrong", f"the file does not run: {_line(error)}{_engine(case, path, kind)}")
    found = apart(case.truth, got)
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
        if found.sqnr_db < POOR_DB and not warned:
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
        return f" [OpenVINO does not run the graph itself: {_line(error)[:80]}]"
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
            return Verdict(name, "fault", f"{type(error).__name__}: {_line(error)} @ {_place(error)}")
    if stray:
        first = stray[0]
        return Verdict(name, "fault", f"stray {first.category.__name__}: {first.message} @ {Path(first.filename).name}")
    try:
        return hold(case, path, kind, progress.warnings)
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".bin").unlink(missing_ok=True)


def judge(case: Case, formats: Sequence[str] = FORMATS) -> list[Verdict]:
    """Every format on both engines; for one graph in five method and corrections are left to calibrate: it takes long."""
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _place(error: BaseException) -> str:
    """The last line of fewbits itself in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "fewbits" in f.filename] or frames
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno} {own[-1].name}"
