"""Work done in a process of its own: what crashes, hangs or fills the memory there leaves this process alone.

``try_in_child`` compiles and runs a model once before it is compiled here; ``reference_outputs`` runs the ONNX
reference evaluator, which knows no bounds of its own.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.engines.base import Arrays, Options
from fewbits.engines.forking import OvertimeError, serve, work_elsewhere
from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.graph.files import as_file

_TIMEOUT_S = 300.0
_CPU_SPENT = getattr(signal, "SIGXCPU", 0)
_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "reference": "the reference evaluator"}


@dataclass(frozen=True)
class Bounds:
    """What the process may use: seconds by the clock, seconds of processor time, bytes of address space."""

    wall_s: float = _TIMEOUT_S
    cpu_s: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Footprint:
    """Resident bytes of the process: after loading the engine's library, and at most while running."""

    baseline_bytes: int
    peak_bytes: int


def try_in_child(
    source: ir.Model | Path,
    engine: str,
    options: Options | None = None,
    feed: Mapping[str, NDArray[Any]] | None = None,
    runs: int = 1,
) -> Footprint:
    """Compile and run a model in a fresh interpreter.

    Args:
        feed: what to run it on; zeros in the shape of one sample where there is none.

    Raises:
        EngineError: it could not be compiled or run, or its process crashed or hung.
        InputError: the options ask for what is not there.
    """
    with tempfile.TemporaryDirectory(prefix="fewbits-") as folder, as_file(source) as path:
        job = {"path": str(path.absolute()), "options": asdict(options or Options()), "runs": runs, "feeds": ""}
        if feed is not None:
            job["feeds"] = str(_save_arrays(Path(folder) / "feeds.npz", [feed]))
        answer = _ask(engine, job, Bounds())
    return Footprint(int(answer["baseline"]), int(answer["peak"]))


def reference_outputs(
    source: ir.Model | Path, feeds: Sequence[Mapping[str, NDArray[Any]]], bounds: Bounds
) -> list[Arrays]:
    """What the ONNX reference evaluator makes of each of these inputs, within bounds.

    Raises:
        EngineError: it cannot run the model, or needs more than the bounds allow.
    """
    with tempfile.TemporaryDirectory(prefix="fewbits-") as folder, as_file(source) as path:
        out = Path(folder) / "outputs.npz"
        feeds_file = _save_arrays(Path(folder) / "feeds.npz", feeds)
        job = {"path": str(path.absolute()), "feeds": str(feeds_file), "out": str(out), "bounds": asdict(bounds)}
        names = _ask("reference", job, bounds)["names"]
        return [dict(zip(names, arrays.values(), strict=True)) for arrays in _load_arrays(out)]


def _ask(engine: str, job: Mapping[str, Any], bounds: Bounds) -> dict[str, Any]:
    """Have the work done, and tell from its last words what became of it."""
    title = _TITLES.get(engine, engine)
    try:
        done = work_elsewhere("fewbits.engines.child", engine, job, bounds.wall_s)
    except OvertimeError as error:
        raise EngineError(f"{title} did not finish within {bounds.wall_s:.0f} s") from error
    said = [line for line in map(_parsed, done.stdout.splitlines()) if line]
    answer = said[-1] if said else {}
    if done.returncode == 0 and "error" in answer:
        raise (InputError if answer.get("exit_code") == InputError.exit_code else EngineError)(str(answer["error"]))
    if done.returncode == 0 and answer and "stage" not in answer:
        return answer
    doing = answer.get("stage", "starting")
    if bounds.cpu_s is not None and done.returncode == -_CPU_SPENT:
        raise EngineError(f"{title} needs more than {bounds.cpu_s} s of processor time")
    ending = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    raise EngineError(f"{title} crashed ({ending}) while {doing} it")


def _parsed(line: str) -> dict[str, Any]:
    """What the process said in a line; nothing where a library printed it."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)


def _save_arrays(path: Path, rows: Sequence[Mapping[str, NDArray[Any]]]) -> Path:
    """Arrays by number, names beside them: a name may be anything, and NumPy keeps no bfloat16."""
    held = {f"{row}/{index}": array for row, arrays in enumerate(rows) for index, array in enumerate(arrays.values())}
    about = [[(name, array.dtype.name) for name, array in arrays.items()] for arrays in rows]
    np.savez(path, about=np.array(json.dumps(about)), **held)  # type: ignore[arg-type]
    return path


def _load_arrays(path: Path) -> list[Arrays]:
    with np.load(path, allow_pickle=False) as held:
        about = json.loads(str(held["about"]))
        return [
            {name: _typed(held[f"{row}/{index}"], dtype) for index, (name, dtype) in enumerate(arrays)}
            for row, arrays in enumerate(about)
        ]


def _typed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if array.dtype.kind != "V":
        return array
    import ml_dtypes

    return array.view(getattr(ml_dtypes, dtype))


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


def _try(engine_name: str, job: Mapping[str, Any]) -> None:
    from fewbits.engines import ENGINES

    engine = ENGINES[engine_name]
    engine.devices()
    baseline = peak_rss_bytes()
    given = job["options"]
    options = Options(**{**given, "extra": tuple((key, value) for key, value in given["extra"])})
    _say(stage="compiling")
    session = engine.compile(Path(job["path"]), options)
    feed: Arrays = {spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs}
    if job["feeds"]:
        feed = _load_arrays(Path(job["feeds"]))[0]
    _say(stage="running")
    for _ in range(job["runs"]):
        session.run(feed)
    _say(baseline=baseline, peak=peak_rss_bytes())


def _evaluate(job: Mapping[str, Any]) -> None:
    from fewbits.engines import ORACLE

    _confine(Bounds(**job["bounds"]))
    _say(stage="loading")
    session = ORACLE.compile(Path(job["path"]), Options())
    _say(stage="running")
    with np.errstate(all="ignore"):
        rows = [session.run(feed) for feed in _load_arrays(Path(job["feeds"]))]
    if any(array.dtype.kind in "OUS" for arrays in rows for array in arrays.values()):
        raise EngineError("the reference evaluator gives strings")
    _save_arrays(Path(job["out"]), rows)
    _say(names=[spec.name for spec in session.outputs])


def _confine(bounds: Bounds) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bounds; the clock holds there as well
        return
    if bounds.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    if bounds.cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_s, bounds.cpu_s + 1))


def _main(engine: str, job: Mapping[str, Any]) -> None:
    try:
        if engine == "reference":
            _evaluate(job)
        else:
            _try(engine, job)
    except FewbitsError as error:
        _say(error=str(error), exit_code=error.exit_code)
    except MemoryError:
        _say(error=f"{_TITLES.get(engine, engine)} needs more memory than there is for it")
    except Exception as error:  # the process is about to end; whatever it was is told
        _say(error=f"{_TITLES.get(engine, engine)} failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(_main)
    else:
        _main(sys.argv[1], json.loads(sys.argv[2]))
