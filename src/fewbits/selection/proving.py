"""Does each session compute what it should? FP32 as the model says, and both modes of a subject the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Mode, Session
from fewbits.errors import EngineError
from fewbits.measurement.evaluate import answers
from fewbits.measurement.plain import judge_plain
from fewbits.numerics import NoiseSum
from fewbits.selection.known import MODES, Known
from fewbits.selection.sessions import Sessions

# Modes split sums differently, which is rounding. A stream that goes wrong leaves less than 10 dB.
_SAME_DB = 20.0
# Of so many samples one may turn over on an edge, as a class number does.
_FOR_ONE_EDGE = 32
_NOTHING = 1e-6


def prove_fp32(
    known: Known,
    sessions: Sessions,
    model: ir.Model,
    original: ir.Model | Path,
    samples: Sequence[Sample],
    names: Sequence[str],
    mode: Mode,
) -> None:
    """FP32 must compute what the model says before anything is compared; ``mode`` is the one that decides.

    Args:
        original: the file that was given, where ONNX Runtime reads such files; else the model as it was read.
    """
    todo = [name for name in names if known.journal.get("fp32", name) is None]
    if todo:
        known.progress.step("checking FP32")
        opened = sessions.open((name, mode) for name in todo for mode in MODES)
        todo = [name for name in todo if name not in known.failures]
        labelled = {f"{name} {m}": session for (name, m), session in opened.items()}
        engines = {f"{name} {m}": known.subjects[name].engine for name, m in opened}
        try:
            verdict = judge_plain(model, original, labelled, engines, samples)
        except EngineError as error:
            known.progress.warn(f"FP32 could not be checked: {error}")
            return
        for note in verdict.notes:
            known.progress.warn(note)
        for name in todo:
            found = {m: verdict.faulty[f"{name} {m}"] for m in MODES if f"{name} {m}" in verdict.faulty}
            known.journal.put("fp32", name, found)
    for name in names:
        if name in known.failures:
            continue
        for wrong, sentence in known.journal.get("fp32", name).items():
            known.progress.warn(f"{name} in {wrong} mode {sentence}")
            if wrong == mode:
                known.failures[name] = f"in {wrong} mode it {sentence}"
            else:
                known.withheld[name] = sentence


def compare_modes(
    known: Known,
    sessions: Sessions,
    samples: Mapping[int, Sample],
    names: Sequence[str],
    mode: Mode,
    seen: Callable[[str], Mapping[int, Arrays]] = lambda _: {},
) -> None:
    """What the mode that does not decide computes must be what the deciding ``mode`` computes.

    Args:
        samples: by position.
        seen: outputs in the deciding mode that are known already, of a subject, by position.
    """
    other: Mode = "latency" if mode == "throughput" else "throughput"
    for index, name in enumerate(names):
        known.progress.step("comparing modes", index, len(names))
        found = known.journal.get("modes", name)
        if found is None:
            try:
                found = differing(_apart_db(sessions, name, mode, other, samples, seen(name)))
            except EngineError as error:
                if name not in known.failures:
                    known.fail(name, str(error))
                continue
            known.journal.put("modes", name, found)
        if found:
            known.withheld[name] = f"in {other} mode it computes something else than in {mode} mode: {found}"


def _apart_db(
    sessions: Sessions, name: str, mode: Mode, other: Mode, samples: Mapping[int, Sample], seen: Mapping[int, Arrays]
) -> list[float]:
    inputs = list(samples.values())
    wanted = [(name, other)] if samples.keys() <= seen.keys() else [(name, mode), (name, other)]
    opened = sessions.open(wanted)
    if len(opened) < len(wanted):
        raise EngineError(sessions.failure(name))
    truth = [seen[index] for index in samples] if len(wanted) == 1 else answers(opened[name, mode], inputs)
    return apart_db(truth, opened[name, other], inputs)


def apart_db(truth: Sequence[Arrays], session: Session, samples: Sequence[Sample]) -> list[float]:
    """For each run of the session the signal-to-noise ratio of its outputs against those expected.

    All slots are kept busy, and each gets a sample at least: faults of parallel streams show only then.
    """
    runs = max(len(samples), session.slots)
    turns = [index % len(samples) for index in range(runs)]
    outputs = answers(session, [samples[index] for index in turns])
    return [_sqnr_db(truth[index], got) for index, got in zip(turns, outputs, strict=True)]


def differing(apart: Sequence[float]) -> str:
    """How the modes differ, in words; empty where they do not."""
    off = sum(not sqnr >= _SAME_DB for sqnr in apart)
    if off <= len(apart) // _FOR_ONE_EDGE:
        return ""
    return f"{off} of {len(apart)} samples come out otherwise (down to {min(apart):.0f} dB)"


def _sqnr_db(expected: Arrays, got: Arrays) -> float:
    """That of the worst output; where nothing is expected but zeros, rounding is no noise."""
    worst = math.inf
    for name, array in expected.items():
        if array.shape != got[name].shape:
            return -math.inf
        noise = NoiseSum()
        noise.add(array, got[name])
        if noise.signal_energy or noise.max_abs > _NOTHING:
            worst = min(worst, noise.sqnr_db)
    return worst
