"""Memory and executed formats: what each subject needs, and what its kernels compute in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fewbits.data import Sample
from fewbits.devices.host import available_cores
from fewbits.engines import ENGINES
from fewbits.errors import EngineError, FewbitsError
from fewbits.measurement.memory import measure_memory
from fewbits.measurement.records import Memory, Subject
from fewbits.selection.known import Known

# Shares of time, not times, are wanted.
_PROFILED_RUNS = 8
_LOW, _MOST_LOW = ("bf16", "f16", "i8"), 0.02


def weigh(known: Known, names: Sequence[str]) -> None:
    """Peak memory, each in a process of its own, as many side by side as there are cores.

    A model that brings its engine down does so there, not here.
    """
    todo = [name for name in names if known.journal.get("memory", name) is None]
    with ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(_weight, [known.subjects[name] for name in todo])
        for index, (name, weight) in enumerate(zip(todo, found, strict=True)):
            known.progress.step("memory", index + 1, len(todo))
            known.journal.put("memory", name, weight)
    for name in names:
        weight = known.journal.get("memory", name)
        if "failure" in weight:
            known.failures[name] = weight["failure"]
        else:
            known.memory[name] = Memory(weight["baseline"], weight["peak"])


def _weight(subject: Subject) -> dict[str, Any]:
    try:
        memory = measure_memory(subject)
    except EngineError as error:
        return {"failure": str(error)}
    return {"baseline": memory.baseline_bytes, "peak": memory.peak_bytes}


def look_inside(known: Known, names: Sequence[str], sample: Sample) -> None:
    """The formats each subject's kernels computed in, from the engine's own profile; FP32 must be FP32."""
    for index, name in enumerate(names):
        known.progress.step("profile", index, len(names))
        found = known.journal.get("executed", name)
        if found is None:
            found = _executed(known, name, sample)
            known.journal.put("executed", name, found)
        known.executed[name] = found["shares"]
        low = {word: share for word, share in found["work"].items() if word in _LOW}
        if name.endswith("-fp32") and sum(low.values()) > _MOST_LOW:
            said = ", ".join(f"{share:.0%} in {word}" for word, share in low.items())
            known.failures[name] = f"FP32 was asked for, but the engine executed its products {said}"


def _executed(known: Known, name: str, sample: Sample) -> dict[str, dict[str, float]]:
    subject = known.subjects[name]
    try:
        profile = ENGINES[subject.engine].profile(
            subject.path, subject.options("latency"), dict(sample.inputs), runs=_PROFILED_RUNS
        )
    except FewbitsError as error:
        known.progress.warn(f"{name}: no profile: {error}")
        return {"shares": {}, "work": {}}
    return {"shares": profile.shares(), "work": profile.shares(work=True)}
