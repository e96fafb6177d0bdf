"""The decision in a terminal: one screen of 80 columns and 24 lines for a usual run, the verdict last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fewbits.report.screen import screen
from fewbits.selection.records import Decision, Measured, Outcome

_UNKNOWN = "unknown"
_LEFT = ("candidate", "executed")
_WIDE = 100
# What a narrow terminal leaves out; the report has it.
_ONLY_WIDE = ("±", "RAM")


def show_decision(decision: Decision, folder: Path, report: Path | None = None) -> None:
    """The table of candidates, the verdict, and where the files are.

    Why the others were not chosen is said where there is room for it; the report has it in any case.
    """
    console = screen()
    name = Path(decision.model).name if console.width < _WIDE else decision.model
    title = Text(
        f"{name} on {decision.host.cpu}, {decision.host.cores} cores", "bold", no_wrap=True, overflow="ellipsis"
    )
    head: list[RenderableType] = [title, _table(decision, console.width >= _WIDE)]
    tail = _verdict(decision, folder, report)
    reasons = _reasons(decision)
    whole = Group(*head, *reasons, *tail)
    # One line is the prompt's.
    fits = not console.is_terminal or len(console.render_lines(whole)) < console.height
    console.print(whole if fits else Group(*head, *tail))


def shares(executed: Mapping[str, float], most: int | None = None) -> str:
    """``i8 96% f32 4%``; ``most`` of them at most."""
    kept = [f"{name} {share:.0%}" for name, share in executed.items() if share >= 0.005]
    return " ".join(kept[:most])


def _table(decision: Decision, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    rows = [_row(outcome, decision, wide) for outcome in decision.outcomes]
    columns = ["candidate", decision.metric, "drop (points)", "ms", "±", "fps", "MB", "RAM", "executed"]
    known = {column for column in columns if any(row.get(column, "") not in ("", _UNKNOWN) for row in rows)}
    shown = [c for c in columns if c in known and (wide or c not in _ONLY_WIDE)]
    for column in shown:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=True)
    for outcome, row in zip(decision.outcomes, rows, strict=True):
        chosen = outcome.candidate.name == decision.chosen
        style = "bold green" if chosen else "" if isinstance(outcome, Measured) else "dim"
        table.add_row(*(Text(row.get(column, "")) for column in shown), style=style)
    return table


def _row(outcome: Outcome, decision: Decision, wide: bool) -> dict[str, str]:
    name = outcome.candidate.name
    row = {"candidate": ("→ " if name == decision.chosen else "  ") + name}
    if not isinstance(outcome, Measured):
        return row | {decision.metric: type(outcome).__name__.lower()}
    m = outcome.measurement
    drop = m.accuracy.drop if m.accuracy else None
    p50 = m.timing.latency_ms["p50"]
    missing = "withheld" if m.timing.samples_ms.size else _UNKNOWN
    return row | {
        decision.metric: f"{m.accuracy.score * 100:.2f}%" if m.accuracy else "",
        "drop (points)": f"{drop.estimate * 100:.2f} ({drop.low * 100:.2f}…{drop.high * 100:.2f})"
        if drop
        else "reference",
        "ms": missing if math.isnan(p50) else f"{p50:.2f}",
        "±": "" if math.isnan(p50) else f"{_spread(m.timing.round_ms.tolist()):.0%}",
        "fps": missing if math.isnan(m.timing.throughput_fps) else f"{m.timing.throughput_fps:.0f}",
        "MB": f"{m.size_bytes / 1e6:.2f}",
        "RAM": f"{m.memory.peak_bytes / 1e6:.0f}" if m.memory else "",
        "executed": shares(m.executed, None if wide else 1),
    }


def _spread(rounds: list[float]) -> float:
    """Half the interquartile range of the rounds, relative to their median; NaN is left out."""
    ordered = sorted(ms for ms in rounds if not math.isnan(ms))
    n = len(ordered)
    return (ordered[(3 * n) // 4] - ordered[n // 4]) / 2 / ordered[n // 2]


def _reasons(decision: Decision) -> list[Text]:
    """Why not each of the others, and what a person should know of each."""
    found = []
    for outcome in decision.outcomes:
        name = outcome.candidate.name
        if name != decision.chosen:
            found.append(Text(f"  {name}: {decision.rejected.get(name, '')}", style="dim"))
            notes = outcome.measurement.notes if isinstance(outcome, Measured) else ()
            found += [Text(f"    {note}", style="dim") for note in notes]
    return found


def _verdict(decision: Decision, folder: Path, report: Path | None) -> list[Text]:
    page = Text(f"Report: {report}" if report else f"All figures: {folder / 'decision.json'}", style="bold")
    if decision.chosen is None:
        return [Text(), Text(decision.reason, style="bold red"), page]
    outcome = next(o for o in decision.outcomes if o.candidate.name == decision.chosen)
    notes = outcome.measurement.notes if isinstance(outcome, Measured) else ()
    files = ", ".join(decision.files)
    return [
        Text(),
        Text(f"{decision.reason}.", style="bold green"),
        *(Text(f"  {note}", style="dim") for note in notes),
        Text(f"Deploy {files} in {folder}{_settings(decision, outcome)}; {decision.seconds:.0f} s."),
        page,
    ]


def _settings(decision: Decision, outcome: Outcome) -> str:
    """How to run the chosen file as it was measured."""
    if not isinstance(outcome, Measured):
        return ""
    mode = "throughput" if decision.budget.objective == "throughput" else "latency"
    settings = outcome.measurement.settings.get(mode, {})
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f" with {outcome.candidate.engine} ({said})" if said else ""
