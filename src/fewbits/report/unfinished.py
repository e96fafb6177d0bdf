"""What a stopped run had found out, read from its journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.selection.journal import NAME

# Metrics whose score is the mean over the samples.
_MEANS = frozenset({"top1", "top5", "agreement", "cosine"})
_STAGES = {
    "run": "before anything was measured",
    "statistics": "after calibration",
    "tuned": "after calibration",
    "file": "while building the candidates",
    "memory": "while measuring memory",
    "preflight": "while looking for hazards",
    "fp32": "while checking FP32",
    "settings": "while compiling the candidates",
    "round": "while measuring speed",
    "evidence": "while measuring accuracy",
    "groups": "while looking for mixes",
    "modes": "while comparing latency and throughput modes",
    "executed": "while profiling",
}


def stopped_after(folder: Path) -> str:
    """How far the run came, in words."""
    last = next(reversed(_journal(folder)), ("run", ""))
    return _STAGES.get(last[0], "before it was done")


def entries(folder: Path, metric: str) -> list[dict[str, Any]]:
    """One entry a candidate that something is known of, with the keys of ``decision.json``."""
    known = _journal(folder)
    names = dict.fromkeys(key for kind, key in known if kind == "memory")
    return [_entry(name, known, metric) for name in names]


def _entry(name: str, known: Mapping[tuple[str, str], Any], metric: str) -> dict[str, Any]:
    engine, _, formats = name.partition("-")
    memory = known.get(("memory", name)) or {}
    why = memory.get("failure") or known.get(("failed", name)) or ""
    scores = _scores(name, known)
    entry: dict[str, Any] = {
        "name": name,
        "engine": engine,
        "formats": formats,
        "status": "failed" if why else "unfinished",
        "reason": why,
        "peak_rss_bytes": memory.get("peak"),
        "executed": known.get(("executed", name)) or {},
    }
    if metric in _MEANS and scores:
        entry |= {"accuracy": float(np.mean(scores)), "samples": len(scores)}
    if turns := [found[name] for (kind, _), found in known.items() if kind == "round" and name in found]:
        times = [ms for turn in turns for ms in turn.get("samples", ())]
        p50, p90, p99 = (float(v) for v in np.percentile(times, (50, 90, 99)))
        entry |= {
            "latency_ms": {"p50": p50, "p90": p90, "p99": p99},
            "throughput_fps": float(np.median([turn["fps"] for turn in turns if "fps" in turn])),
            "round_ms": tuple(turn.get("ms") for turn in turns),
            "round_fps": tuple(turn.get("fps") for turn in turns),
        }
    return entry


def _scores(name: str, known: Mapping[tuple[str, str], Any]) -> list[float]:
    """Of all samples seen, in the mode whose speed decides: no other is judged."""
    seen = (value for (kind, key), value in known.items() if kind == "evidence" and key.split(" ")[0] == name)
    return [float(e) for value in seen for e in value.get("evidence", ()) if isinstance(e, int | float)]


def _journal(folder: Path) -> dict[tuple[str, str], Any]:
    """Whole lines in order; a line that was cut off ends the reading."""
    found: dict[tuple[str, str], Any] = {}
    with (folder / NAME).open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
                found[str(entry["kind"]), str(entry["key"])] = entry["value"]
            except (ValueError, KeyError, TypeError, RecursionError):
                break
    return found
