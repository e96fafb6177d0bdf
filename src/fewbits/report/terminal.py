"""Records as a person reads them in a terminal: one screen, the verdict last."""

from __future__ import annotations

import math

from rich import box
from rich.table import Table
from rich.text import Text

from fewbits.measurement.comparison import Comparison
from fewbits.measurement.conversion import Converted
from fewbits.measurement.records import Measurements
from fewbits.quantization.records import Calibrated
from fewbits.report.screen import screen as _console
from fewbits.report.verdict import shares


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
            f"{result.recipe.method} from {result.samples - result.aside} samples, corrections: "
            f"{', '.join(result.recipe.corrections) or 'none'}"
        )
    )
    if result.sqnr_db:
        tried = ", ".join(f"{name} {db:.1f} dB" for name, db in result.sqnr_db.items())
        console.print(Text(f"  variants tried: {tried}", style="dim"))
    for output in result.outputs:
        said = f"  {output.engine}: {output.sqnr_db:.1f} dB at output {output.unit}, on {result.judged} other samples"
        console.print(Text(said))
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
    counted = {"random": "random inputs", "data": "samples of the data"}
    for found in result.deviations:
        what = f"{found.samples} {counted[found.inputs]}" if found.inputs in counted else found.inputs
        if found.max_abs == 0:
            said = "no output differs by a bit"
        else:
            said = f"{found.sqnr_db:.1f} dB at output {found.output}, largest difference {found.max_abs:.3g}"
        _console().print(Text(f"Against the original on {what}: {said}."))
    _console().print(Text(f"Held against {result.truth}."))


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
