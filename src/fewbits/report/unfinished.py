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
    "evidence": "while measuring accuracy",
    "settings": "while measuring speed",
    "speed": "after measuring speed",
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
    speed: Any = next((value for (kind, _), value in known.items() if kind == "speed"), {})
    return [_entry(name, known, speed, metric) for name in names]


def _entry(name: str, known: Mapping[tuple[str, str], Any], speed: Any, metric: str) -> dict[str, Any]:
    engine, _, formats = name.partition("-")
    memory = known.get(("memory", name)) or {}
    evidence = known.get(("evidence", f"{name} latency")) or {}
    scores = [e for e in evidence.get("evidence", ()) if isinstance(e, int | float)]
    entry: dict[str, Any] = {
        "name": name,
        "engine": engine,
        "formats": formats,
        "status": "failed" if "failure" in memory else "unfinished",
        "reason": memory.get("failure", ""),
        "peak_rss_bytes": memory.get("peak"),
        "executed": known.get(("executed", name)) or {},
    }
    if metric in _MEANS and scores:
        entry |= {"accuracy": float(np.mean(scores)), "samples": len(scores)}
    if name in speed:
        p50, p90, p99 = (float(v) for v in np.percentile(speed[name]["samples"], (50, 90, 99)))
        rounds = speed[name]["fps"]
        entry |= {
            "latency_ms": {"p50": p50, "p90": p90, "p99": p99},
            "throughput_fps": float(np.median(rounds)) if rounds else None,
            "round_ms": tuple(speed[name]["ms"]),
            "round_fps": tuple(rounds),
        }
    return entry


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
