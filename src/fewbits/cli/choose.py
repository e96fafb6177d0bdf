"""``fewbits choose``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import (
    common_options,
    data_option,
    data_options,
    engine_option,
    engine_settings,
    model_options,
    percent,
    seconds,
)
from fewbits.errors import BudgetError
from fewbits.frontends.source import Source
from fewbits.selection.records import Decision, Objective
from fewbits.verbs.inputs import DataOptions


@click.command(
    epilog="Example: fewbits choose model.onnx --data val.csv --calibration-data calib.csv "
    "--resize 256 --crop 224 --mean 127.5 --scale 127.5 --max-drop 1% -o run"
)
@click.argument("model", type=click.Path(path_type=Path))
@model_options("model")
@data_option(required=True)
@click.option("--calibration-data", metavar="D", help="Calibration samples; without it a part of --data is set aside.")
@data_options
@click.option("--max-drop", default="1%", show_default=True, help="Of the metric, in absolute points.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the intervals.")
@click.option(
    "--objective",
    type=click.Choice(["latency", "throughput", "size"]),
    default="latency",
    show_default=True,
    help="What the winner is best at.",
)
@click.option("--max-latency-ms", type=float, help="A limit on the median latency at batch 1.")
@click.option("--time-budget", metavar="10m", help="Stop measuring after about this time.")
@click.option("--formats", default="fp32,fp16,bf16,int8,mixed", show_default=True, help="Formats to try.")
@click.option(
    "--method",
    type=click.Choice(["auto", "minmax", "percentile", "mse", "entropy"]),
    default="auto",
    show_default=True,
    help="How INT8 ranges are found.",
)
@engine_option()
@engine_settings
@click.option("--emulate", is_flag=True, help="Try an FP16-only device that is not here (MYRIAD, HDDL): no speed.")
@click.option("--resume", is_flag=True, help="Go on with a stopped run in the same folder.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("fewbits-run"),
    show_default=True,
    help="Folder for the chosen model and the reasons.",
)
@common_options
def choose(
    model: Source,
    options: DataOptions,
    max_drop: str,
    confidence: float,
    objective: Objective,
    max_latency_ms: float | None,
    time_budget: str | None,
    formats: str,
    method: str,
    engine: str,
    engine_options: tuple[str, ...],
    emulate: bool,
    resume: bool,
    out: Path,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Build MODEL in every format, measure each on your data and device, and write the winner."""
    from fewbits.selection.records import Budget
    from fewbits.verbs.choose import choose as run

    budget = Budget(
        percent(max_drop, "--max-drop"),
        confidence,
        objective,
        max_latency_ms,
    )
    with ConsoleProgress() as progress:
        decision = run(
            model,
            options,
            out=out,
            budget=budget,
            engine=engine,
            device=device,
            engine_options=engine_options,
            emulate=emulate,
            formats=tuple(name.strip() for name in formats.split(",") if name.strip()),
            threads=threads,
            method=method,
            time_budget_s=seconds(time_budget),
            resume=resume,
            progress=progress,
        )
    finish(decision, out, as_json=as_json)


def finish(decision: Decision, out: Path, *, as_json: bool) -> None:
    """Print the decision and leave with 3 where nothing fits the budget."""
    from fewbits.report.json_view import decision_json, dumps
    from fewbits.report.page import REPORT
    from fewbits.report.verdict import show_decision

    if as_json:
        say(dumps(decision_json(decision)).rstrip())
    else:
        show_decision(decision, out, out / REPORT)
    if decision.chosen is None:
        raise BudgetError(
            decision.reason, where=str(out), fix=f"widen the budget; {REPORT} shows what each candidate loses"
        )
