"""What the chart of accuracy against speed, size or memory shows: the axes, a point a candidate, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbits.report.story import Choice, Entry
from fewbits.report.words import label, megabytes, number, percent


@dataclass(frozen=True)
class Axis:
    """What accuracy is drawn against; ``better`` is 1 where more is better, -1 where less is."""

    key: str
    name: str
    title: str
    better: int


AXES = (
    Axis("latency", "Latency", "median latency at batch 1, ms (less is better)", -1),
    Axis("throughput", "Throughput", "samples a second with all cores busy (more is better)", 1),
    Axis("size", "Size", "model file, MB (less is better)", -1),
    Axis("memory", "Memory", "peak memory of the process, MB (less is better)", -1),
)


def points(choice: Choice, axis: Axis) -> list[dict[str, Any]]:
    """The measured candidates on one axis, the chosen one last so that it is drawn on top; accuracies in percent."""
    reference = choice.named(choice.reference)
    base = reference.accuracy if reference else None
    found = []
    for entry in choice.candidates:
        x, x_low, x_high = _place(entry, axis)
        if x is None or entry.accuracy is None:
            continue
        low = high = None
        if base is not None and entry.drop_interval is not None and entry is not reference:
            low, high = ((base - drop) * 100 for drop in reversed(entry.drop_interval))
        found.append(
            {
                "axis": axis.key,
                "name": entry.name,
                "engine": entry.engine,
                "format": entry.formats,
                "x": x,
                "x_low": x_low,
                "x_high": x_high,
                "y": entry.accuracy * 100,
                "y_low": low,
                "y_high": high,
                "chosen": entry.name == choice.chosen,
                "tip": _tip(choice, entry),
            }
        )
    for point in found:
        point["front"] = not any(_beats(other, point, axis.better) for other in found)
    return sorted(found, key=lambda point: bool(point["chosen"]))  # the chosen one is drawn last, on top


def _beats(other: dict[str, Any], point: dict[str, Any], better: int) -> bool:
    """Whether the other is no worse in both, and better in one."""
    ahead, right = better * (other["x"] - point["x"]), other["y"] - point["y"]
    return bool(ahead >= 0 and right >= 0 and (ahead > 0 or right > 0))


def _place(entry: Entry, axis: Axis) -> tuple[float | None, float | None, float | None]:
    """(value, lower and upper quartile of the rounds) on an axis."""
    match axis.key:
        case "latency":
            return entry.p50_ms, *_quartiles(entry.round_ms)
        case "throughput":
            return entry.throughput_fps, *_quartiles(entry.round_fps)
        case "size":
            return None if entry.size_bytes is None else entry.size_bytes / 1e6, None, None
        case _:
            return None if entry.peak_rss_bytes is None else entry.peak_rss_bytes / 1e6, None, None


def _quartiles(rounds: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in rounds if value is not None]
    if len(known) < 4:
        return None, None
    low, high = np.percentile(known, (25, 75))
    return float(low), float(high)


def _tip(choice: Choice, entry: Entry) -> str:
    lines = [label(entry), f"{choice.metric} {percent(entry.accuracy)}"]
    if entry.name == choice.reference:
        lines.append("the FP32 reference")
    elif entry.drop is not None and entry.drop_interval is not None:
        low, high = (number(v * 100) for v in entry.drop_interval)
        lines.append(f"drop {number(entry.drop * 100)} points ({low} … {high})")
    lines.append(f"{number(entry.p50_ms)} ms · {number(entry.throughput_fps, 0)} a second")
    lines.append(f"{megabytes(entry.size_bytes)} MB file · {megabytes(entry.peak_rss_bytes, 0)} MB memory")
    return "\n".join(lines)
