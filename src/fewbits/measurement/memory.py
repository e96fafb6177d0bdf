"""Peak memory of a model, in a process of its own: neither this process nor other models count."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.measurement.records import Memory, Subject

_TIMEOUT_S = 300
_RUNS = 5


def measure_memory(subject: Subject) -> Memory:
    """Load and run the subject in a fresh interpreter.

    Raises:
        EngineError: it could not be compiled or run, or its process crashed or hung; a model that brings
            down its engine does so here, not in the caller's process.
    """
    job = {
        "path": str(subject.path.absolute()),
        "engine": subject.engine,
        "device": subject.device,
        "precision": subject.precision,
        "threads": subject.threads,
        "extra": subject.extra,
    }
    command = [sys.executable, "-m", "fewbits.measurement.memory", json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{subject.engine} did not finish five runs within {_TIMEOUT_S} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        ending = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise EngineError(f"{subject.engine} brought its process down ({ending})")
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except ValueError as error:
        raise EngineError(f"{subject.engine} brought its process down (exit code 0, no answer)") from error
    if "error" in answer:
        raise (InputError if answer.get("exit_code") == InputError.exit_code else EngineError)(str(answer["error"]))
    return Memory(int(answer["baseline"]), int(answer["peak"]))


def peak_rss_bytes() -> int:
    """The highest resident size of this process so far.

    Linux keeps it per address space in VmHWM; getrusage would also count what the parent held when it forked.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _work(job: dict[str, Any]) -> dict[str, Any]:
    from pathlib import Path

    import numpy as np

    from fewbits.engines import ENGINES, Options

    engine = ENGINES[job["engine"]]
    engine.devices()
    baseline = peak_rss_bytes()
    extra = tuple((key, value) for key, value in job["extra"])
    options = Options(device=job["device"], precision=job["precision"], threads=job["threads"], extra=extra)
    session = engine.compile(Path(job["path"]), options)
    feed = {spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs}
    for _ in range(_RUNS):
        session.run(feed)
    return {"baseline": baseline, "peak": peak_rss_bytes()}


if __name__ == "__main__":
    try:
        print(json.dumps(_work(json.loads(sys.argv[1]))))
    except FewbitsError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
