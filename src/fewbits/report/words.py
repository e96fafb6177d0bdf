"""Numbers and names as the report writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewbits.measurement.interval import speedup
from fewbits.report.story import Choice, Entry

ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
MINUS = "−"


def engine_name(engine: str) -> str:
    """``openvino`` → ``OpenVINO``."""
    return ENGINES.get(engine, engine)


def label(entry: Entry) -> str:
    """``INT8 on OpenVINO``."""
    if entry.engine == "emulated":
        return f"{entry.formats.upper()} (emulated)"
    return f"{entry.formats.upper()} on {engine_name(entry.engine)}"


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """``-0.125`` → ``−0.12``; an unknown number is a dash."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)
    return f"{text} {unit}".rstrip()


def percent(fraction: float | None, digits: int = 2) -> str:
    """``0.9888`` → ``98.88%``."""
    text = number(None if fraction is None else fraction * 100, digits)
    return text if text == "–" else f"{text}%"


def significant(value: float | None) -> str:
    """Three digits that matter: ``1234``, ``12.3``, ``0.123``."""
    if value is None or not np.isfinite(value):
        return "–"
    return number(value, max(0, 2 - int(np.floor(np.log10(abs(value) or 1)))) if abs(value) < 100 else 0)


def megabytes(size: int | None, digits: int = 2) -> str:
    """``1790000`` → ``1.79``; from 100 MB on without digits."""
    return number(None if size is None else size / 1e6, 0 if size and size >= 1e8 else digits)


def gain(choice: Choice, entry: Entry) -> tuple[float, float, float] | None:
    """How many times as fast as the reference by the objective: (low, median, high); None where it is not known."""
    reference = choice.named(choice.reference)
    if reference is None:
        return None
    theirs, mine = (one.costs(choice.budget.mode) for one in (reference, entry))
    common = sorted(theirs.keys() & mine.keys())
    if not common:
        return None
    return speedup([theirs[i] for i in common], [mine[i] for i in common], choice.budget.confidence)


def headline(choice: Choice, *, finished: bool = True) -> str:
    """The verdict in a few words."""
    model = Path(choice.model).name
    if not finished:
        return f"{model}: not decided yet"
    entry = choice.named(choice.chosen)
    if entry is None:
        return f"No format of {model} fits the budget"
    if choice.chosen == choice.reference:
        return f"Stay with {label(entry)}"
    ratio = gain(choice, entry)
    drop = (entry.drop or 0.0) * 100
    lost = f"{number(abs(drop))} points {'lost' if drop > 0 else 'gained'}" if abs(drop) >= 0.005 else "nothing lost"
    fast = f"{number(ratio[1], 1)}× as fast as FP32" if ratio else "its speed is unknown"
    return f"Deploy {label(entry)}: {fast}, {lost}"
