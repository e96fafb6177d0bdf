"""Is FP32 on each engine what the model says? Engines are held against each other first.

The reference is ONNX Runtime on the model as it was given. Where an engine of another make computes the same from the
simplified model, there is nothing to settle. Where they part, the ONNX reference evaluator is asked (``oracle.py``):
it says who is wrong. It has faults of its own, so it only decides where somebody agrees with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import ENGINES, Arrays, Engine, Options, Session
from fewbits.engines.child import try_in_child
from fewbits.errors import EngineError, FewbitsError
from fewbits.measurement.apart import Apart
from fewbits.measurement.oracle import oracle_answers
from fewbits.measurement.parting import parting

# Two at least, and a slot of a session gets two: that it answers the sample before shows only then.
SAMPLES = 4
_A_SLOT = 2
# The rounding of FP32, a few operators deep.
_SHAKEN = 2.0**-22
_ORACLE = "the ONNX reference evaluator"

Heard = Sequence[tuple[int, Arrays]]


@dataclass(frozen=True)
class Verdict:
    """A sentence for every session that computes something else than the model says, and what else to tell."""

    faulty: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Truth:
    """What is right, of each sample, and who says so."""

    outputs: Sequence[Arrays]
    who: str
    note: str = ""


def judge_plain(
    model: ir.Model,
    original: ir.Model | Path,
    sessions: Mapping[str, Session],
    engines: Mapping[str, str],
    samples: Sequence[Sample],
    reference: Engine = ENGINES["onnxruntime"],
) -> Verdict:
    """Compare all outputs of all sessions on the samples; every slot is kept busy, as faults of streams show only then.

    Args:
        model: as it was read, not simplified.
        original: the file given, where the reference reads such files; else the model.
        engines: the engine of each session.
    """
    failed, heard = _hear(sessions, samples)
    spoken = {name: engines[name] for name in heard}
    base = _base(original, samples, reference, tried=reference.name in spoken.values())
    truth = _truth(model, base, heard, spoken, samples, reference)
    if isinstance(truth, str):
        return Verdict(failed, (truth,))
    aparts = {name: _apart(truth.outputs, answers) for name, answers in heard.items()}
    rounding = None
    if base is not None and any(apart.fault() for apart in aparts.values()):
        rounding = _rounding(model, base, samples, reference)
    count = min(len(truth.outputs), len(samples))
    faulty = {
        name: f"computes something else than the model says: {fault} against {truth.who} on {count} samples"
        + _place(model, samples, reference, engines[name])
        for name, apart in aparts.items()
        if (fault := apart.fault(rounding))
    }
    return Verdict(failed | faulty, (truth.note,) if truth.note else ())


def _place(model: ir.Model, samples: Sequence[Sample], reference: Engine, engine: str) -> str:
    """``; MaxPool 'pool' is computed otherwise``, or nothing where no operator is found."""
    other = ENGINES.get(engine)
    if other is None or other.name == reference.name:
        return ""
    try:
        found = parting(model, samples, reference, other, Options())
    except FewbitsError:
        return ""
    return "" if found is None else f"; {found.sentence}"


def _truth(
    model: ir.Model,
    base: Sequence[Arrays] | None,
    heard: Mapping[str, Heard],
    engines: Mapping[str, str],
    samples: Sequence[Sample],
    reference: Engine,
) -> _Truth | str:
    """The truth, or why none is known."""
    who = f"{reference.name} on the original"
    if base is not None:
        alike = {name for name, answers in heard.items() if _apart(base, answers).alike}
        if any(engines[name] != reference.name for name in alike):
            return _Truth(base, who)
    try:
        said = oracle_answers(model, samples)
    except EngineError as error:
        note = f"FP32 was not checked against {_ORACLE}: {error}"
        return note if base is None else _Truth(base, who, note)
    off = "" if base is None else _apart(said, list(enumerate(base))).fault()
    if base is not None and not off:
        return _Truth(base, who)
    if any(not _apart(said, answers).fault() for answers in heard.values()):
        return _Truth(said, _ORACLE)
    if base is None:
        return f"FP32 was not checked: {', '.join(heard)} and {_ORACLE} differ, and nobody else runs the original"
    return _Truth(base, who, f"{_ORACLE} computes something else than every engine and is overruled: {off}")


def _apart(truth: Sequence[Arrays], answers: Heard) -> Apart:
    """On the samples whose truth is known."""
    return Apart.between((truth[index], got) for index, got in answers if index < len(truth))


def _hear(sessions: Mapping[str, Session], samples: Sequence[Sample]) -> tuple[dict[str, str], dict[str, Heard]]:
    """(why some failed, what the others answered)."""
    failed: dict[str, str] = {}
    heard: dict[str, Heard] = {}
    for name, session in sessions.items():
        each = len(samples) if session.slots == 1 else min(len(samples), _A_SLOT)
        turns = [[(slot + step) % len(samples) for step in range(each)] for slot in range(session.slots)]
        with ThreadPoolExecutor(session.slots) as pool:
            runs = [
                pool.submit(_run, session, [(i, samples[i]) for i in turn], slot) for slot, turn in enumerate(turns)
            ]
        try:
            heard[name] = [answer for run in runs for answer in run.result()]
        except EngineError as error:
            failed[name] = str(error)
    return failed, heard


def _run(session: Session, samples: Sequence[tuple[int, Sample]], slot: int = 0) -> Heard:
    return [(i, {k: v.copy() for k, v in session.run(s.inputs, slot).items()}) for i, s in samples]


def _base(
    original: ir.Model | Path, samples: Sequence[Sample], reference: Engine, *, tried: bool
) -> Sequence[Arrays] | None:
    """What the reference makes of the original; None where it cannot run it.

    Args:
        tried: whether it has run the model already, so that it may be expected not to crash.
    """
    try:
        if not tried:
            try_in_child(original, reference.name, feed=samples[0].inputs)
        session = reference.compile(original, Options())
        try:
            return [answer for _, answer in _run(session, list(enumerate(samples)))]
        finally:
            session.close()
    except FewbitsError:
        return None


def _rounding(model: ir.Model, base: Sequence[Arrays], samples: Sequence[Sample], reference: Engine) -> Apart | None:
    """What inputs and weights that are moved by FP32's rounding do to the outputs, on the same engine."""
    rng = np.random.default_rng(0)

    def moved(array: np.ndarray) -> np.ndarray:
        return (array * (1 + rng.uniform(-_SHAKEN, _SHAKEN, array.shape))).astype(array.dtype)

    shaken = model.clone()
    for value in shaken.graph.initializers.values():
        tensor = value.const_value
        # Scales of a Resize, bounds and such are vectors: moved, they might change sizes.
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) > 1:
            value.const_value = ir.tensor(moved(tensor.numpy()), name=value.name)
    others = [
        replace(s, inputs={k: moved(v) if v.dtype.kind == "f" else v for k, v in s.inputs.items()}) for s in samples
    ]
    again = _base(shaken, others, reference, tried=True)
    return None if again is None else Apart.between(zip(base, again, strict=True))
