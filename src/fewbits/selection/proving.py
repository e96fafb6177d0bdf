"""Does each session compute what it should? FP32 as the model says, and both modes of a subject the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Mode, Session
from fewbits.errors import EngineError
from fewbits.measurement.oracle import check_against_oracle
from fewbits.numerics import NoiseSum
from fewbits.selection.known import MODES, Known
from fewbits.selection.sessions import Sessions

# Modes split sums differently, which is rounding. A stream that goes wrong leaves less than 10 dB.
_SAME_DB = 20.0
# Of so many samples one may turn over on an edge, as a class number does.
_FOR_ONE_EDGE = 32


def prove_fp32(
    known: Known, sessions: Sessions, model: ir.Model, sample: Sample, names: Sequence[str], mode: Mode
) -> None:
    """FP32 must compute what the model says before anything is compared; ``mode`` is the one that decides."""
    todo = [name for name in names if known.journal.get("fp32", name) is None]
    if todo:
        known.progress.step("checking FP32 against the ONNX reference evaluator")
        opened = sessions.open((name, mode) for name in todo for mode in MODES)
        try:
            faulty = check_against_oracle(model, {f"{n} {m}": s for (n, m), s in opened.items()}, [sample]).faulty()
        except EngineError as error:
            known.progress.warn(f"FP32 could not be checked: {error}")
            return
        for name in todo:
            known.journal.put("fp32", name, {m: faulty[f"{name} {m}"] for m in MODES if f"{name} {m}" in faulty})
    for name in names:
        for wrong, sentence in known.journal.get("fp32", name).items():
            known.progress.warn(f"{name} in {wrong} mode {sentence}")
            if wrong == mode:
                known.failures[name] = f"in {wrong} mode it {sentence}"
            else:
                known.withheld[name] = sentence


def compare_modes(
    known: Known, sessions: Sessions, samples: Sequence[Sample], names: Sequence[str], mode: Mode
) -> None:
    """What the mode that does not decide computes must be what the deciding ``mode`` computes.

    All slots are kept busy, and each gets a sample at least: faults of parallel streams show only then.
    """
    other: Mode = "latency" if mode == "throughput" else "throughput"
    for index, name in enumerate(names):
        known.progress.step("comparing modes", index, len(names))
        found = known.journal.get("modes", name)
        if found is None:
            opened = sessions.open([(name, mode), (name, other)])
            if len(opened) < 2:
                continue
            try:
                apart = apart_db(opened[name, mode], opened[name, other], samples)
            except EngineError as error:
                known.failures[name] = str(error)
                continue
            found = differing(apart)
            known.journal.put("modes", name, found)
        if found:
            known.withheld[name] = f"in {other} mode it computes something else than in {mode} mode: {found}"


def apart_db(one: Session, other: Session, samples: Sequence[Sample]) -> list[float]:
    """For each run of ``other`` (every sample, every slot) the signal-to-noise ratio against ``one``."""
    truth = _busy(one, samples, len(samples))
    runs = _busy(other, samples, max(len(samples), other.slots))
    return [_sqnr_db(truth[index % len(samples)], outputs) for index, outputs in enumerate(runs)]


def differing(apart: Sequence[float]) -> str:
    """How the modes differ, in words; empty where they do not."""
    off = sum(not sqnr >= _SAME_DB for sqnr in apart)
    if off <= len(apart) // _FOR_ONE_EDGE:
        return ""
    return f"{off} of {len(apart)} samples come out otherwise (down to {min(apart):.0f} dB)"


def _busy(session: Session, samples: Sequence[Sample], runs: int) -> list[Arrays]:
    """Outputs of so many runs, over the samples in turn; run i is in slot i modulo slots."""
    results: list[Arrays] = [{} for _ in range(runs)]

    def work(slot: int) -> None:
        for index in range(slot, runs, session.slots):
            outputs = session.run(samples[index % len(samples)].inputs, slot)
            results[index] = {name: array.copy() for name, array in outputs.items()}

    with ThreadPoolExecutor(session.slots) as pool:
        list(pool.map(work, range(session.slots)))
    return results


def _sqnr_db(expected: Arrays, got: Arrays) -> float:
    """That of the worst output."""
    worst = float("inf")
    for name, array in expected.items():
        noise = NoiseSum()
        if array.shape == got[name].shape:
            noise.add(array, got[name])
            worst = min(worst, noise.sqnr_db)
        else:
            worst = -float("inf")
    return worst
