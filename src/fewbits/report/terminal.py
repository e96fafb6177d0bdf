"""Records as a person reads them in a terminal: one screen, the verdict last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from fewbits.measurement.comparison import Comparison
from fewbits.measurement.conversion import Converted
from fewbits.measurement.records import Measurements
from fewbits.quantization.records import Calibrated
from fewbits.report.screen import screen as _console
from fewbits.selection.records import Decision, Measured, Outcome

_UNKNOWN = "unknown"


def show_decision(decision: Decision, folder: Path) -> None:
    """The table of candidates, the verdict, and where the files are."""
    console = _console()
    host = decision.host
    console.print(Text(f"{decision.model} on {host.cpu}, {host.cores} cores", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    metric = "agreement" if decision.metric == "agreement" else decision.metric
    columns = ("candidate", metric, "drop (points)", "ms", "±", "fps", "MB", "RAM", "executed")
    rows = [_row(outcome, decision) for outcome in decision.outcomes]
    known = [i for i in range(len(columns)) if any(row[i : i + 1] not in ((), ("",), (_UNKNOWN,)) for row in rows)]
    for i in known:
        table.add_column(columns[i], justify="left" if i in (0, 8) else "right", no_wrap=True)
    for outcome, row in zip(decision.outcomes, rows, strict=True):
        style = "bold green" if outcome.candidate.name == decision.chosen else ""
        table.add_row(*(Text(row[i] if i < len(row) else "") for i in known), style=style)
    console.print(table)
    for outcome in decision.outcomes:
        name = outcome.candidate.name
        if name != decision.chosen:
            console.print(Text(f"  {name}: {decision.rejected.get(name, '')}", style="dim"))
            if isinstance(outcome, Measured):
                for note in outcome.measurement.notes:
                    console.print(Text(f"    {note}", style="dim"))
    console.print()
    if decision.chosen is None:
        console.print(Text(decision.reason, style="bold red"))
        console.print(Text(f"The report is in {folder / 'decision.json'}."))
        return
    console.print(Text(f"{decision.reason}.", style="bold green"))
    for outcome in decision.outcomes:
        if outcome.candidate.name == decision.chosen and isinstance(outcome, Measured):
            for note in outcome.measurement.notes:
                console.print(Text(f"  {note}", style="dim"))
    files = ", ".join(str(folder / file) for file in decision.files)
    console.print(Text(f"Deploy {files}{_deploy(decision)}; all figures: {folder / 'decision.json'}."))
    console.print(Text(f"{decision.seconds:.0f} s."))


def _deploy(decision: Decision) -> str:
    """How to run the chosen file as it was measured."""
    outcome = next(o for o in decision.outcomes if o.candidate.name == decision.chosen)
    if not isinstance(outcome, Measured):
        return ""
    mode = "throughput" if decision.budget.objective == "throughput" else "latency"
    settings = outcome.measurement.settings.get(mode, {})
    if not settings:
        return ""
    return f" with {outcome.candidate.engine} ({', '.join(f'{k}={v}' for k, v in settings.items())})"


def _row(outcome: Outcome, decision: Decision) -> tuple[str, ...]:
    name = outcome.candidate.name
    mark = "→ " if name == decision.chosen else "  "
    if not isinstance(outcome, Measured):
        return (mark + name, type(outcome).__name__.lower())
    m = outcome.measurement
    drop = m.accuracy.drop if m.accuracy else None
    latency = m.timing.latency_ms
    missing = "withheld" if m.timing.samples_ms.size else _UNKNOWN
    return (
        mark + name,
        f"{m.accuracy.score * 100:.2f}%" if m.accuracy else "",
        f"{drop.estimate * 100:.2f} ({drop.low * 100:.2f}…{drop.high * 100:.2f})" if drop else "reference",
        missing if math.isnan(latency["p50"]) else f"{latency['p50']:.2f}",
        "" if math.isnan(latency["p50"]) else f"{_spread(m.timing.round_ms.tolist()):.0%}",
        missing if math.isnan(m.timing.throughput_fps) else f"{m.timing.throughput_fps:.0f}",
        f"{m.size_bytes / 1e6:.2f}",
        f"{m.memory.peak_bytes / 1e6:.0f}" if m.memory else "",
        shares(m.executed),
    )


def _spread(rounds: list[float]) -> float:
    """Half the interquartile range of the rounds, relative to their median."""
    ordered = sorted(rounds)
    n = len(ordered)
    return (ordered[(3 * n) // 4] - ordered[n // 4]) / 2 / ordered[n // 2]


def shares(executed: Mapping[str, float]) -> str:
    """``i8 96% f32 4%``."""
    return " ".join(f"{name} {share:.0%}" for name, share in executed.items() if share >= 0.005)


def show_calibrated(result: Calibrated) -> None:
    """What was written, what is INT8, what is not and why."""
    console = _console()
    plan = result.plan
    reasons: dict[str, list[str]] = {}
    for node, reason in plan.skipped.items():
        reasons.setdefault(reason, []).append(node)
    console.print(
        Text(
            f"{len(plan.integer)} nodes in INT8, {len(plan.skipped)} in floating point; ranges by "
            f"{result.recipe.method} from {result.samples} samples, corrections: "
            f"{', '.join(result.recipe.corrections) or 'none'}"
        )
    )
    if result.sqnr_db:
        tried = ", ".join(f"{name} {db:.1f} dB" for name, db in result.sqnr_db.items())
        console.print(Text(f"  signal to noise at the outputs: {tried}", style="dim"))
    for reason, nodes in reasons.items():
        shown = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
        console.print(Text(f"  float: {shown}: {reason}", style="dim"))
    console.print(
        Text(
            f"Wrote {', '.join(str(file) for file in result.files)} in {result.seconds:.1f} s, "
            f"at most {result.peak_rss_bytes / 1e6:.0f} MB of memory."
        )
    )


def show_measurements(result: Measurements) -> None:
    """One line per model and engine."""
    console = _console()
    console.print(Text(f"{result.host.cpu}, {result.host.cores} cores", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    columns = (
        "model",
        "engine",
        "p50 ms",
        "p90",
        "p99",
        "fps",
        "MB",
        "RAM",
        "accuracy",
        "agreement",
        "executed",
    )
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index in (0, 1, 10) else "right", overflow="fold")
    for model in result.models:
        m = model.measurement
        latency = m.timing.latency_ms
        accuracy = m.accuracy
        table.add_row(
            *map(
                Text,
                (
                    str(model.model),
                    model.subject.engine,
                    f"{latency['p50']:.2f}",
                    f"{latency['p90']:.2f}",
                    f"{latency['p99']:.2f}",
                    f"{m.timing.throughput_fps:.0f}",
                    f"{m.size_bytes / 1e6:.2f}",
                    f"{m.memory.peak_bytes / 1e6:.0f}" if m.memory else "",
                    f"{accuracy.score * 100:.2f}%" if accuracy else "",
                    f"{accuracy.agreement * 100:.2f}%" if accuracy and accuracy.agreement is not None else "",
                    shares(m.executed),
                ),
            )
        )
    console.print(table)


def show_converted(result: Converted) -> None:
    """Sizes, operators, and the proof."""
    ratio = result.size_after / result.size_before if result.size_before else math.nan
    _console().print(
        Text(
            f"Wrote {result.out} in {result.to}: {result.size_before / 1e6:.2f} → {result.size_after / 1e6:.2f} MB "
            f"({ratio:.0%}), {result.nodes_before} → {result.nodes_after} nodes."
        )
    )
    for found in result.deviations:
        what = f"{found.samples} {'random inputs' if found.inputs == 'random' else 'samples of the data'}"
        if found.max_abs == 0:
            said = "no output differs by a bit"
        else:
            said = f"{found.sqnr_db:.1f} dB at output {found.output}, largest difference {found.max_abs:.3g}"
        _console().print(Text(f"Against the original on {what}: {said}."))


def show_comparison(result: Comparison, count: int = 15) -> None:
    """The worst layers and the outputs."""
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name, justify in (
        ("layer", "left"),
        ("op", "left"),
        ("SQNR dB", "right"),
        ("max |Δ|", "right"),
        ("reference range", "right"),
        ("other range", "right"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for entry in [*result.worst(count), *result.outputs]:
        style = "bold" if entry in result.outputs else ""
        low, high = entry.reference_range
        other_low, other_high = entry.other_range
        table.add_row(
            *map(
                Text,
                (
                    entry.node,
                    entry.op,
                    f"{entry.sqnr_db:.1f}",
                    f"{entry.max_abs:.4g}",
                    f"{low:.4g} … {high:.4g}",
                    f"{other_low:.4g} … {other_high:.4g}",
                ),
            ),
            style=style,
        )
    console.print(table)
    console.print(
        Text(
            f"{len(result.layers)} layers compared on {result.samples} samples, the worst "
            f"{min(count, len(result.layers))} shown, outputs in bold; {result.only_in_reference} activations "
            f"stand only in {result.reference}."
        )
    )
