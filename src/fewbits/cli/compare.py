"""``fewbits compare``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import data_option, data_options, device_option, model_options
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


@click.command(epilog="Example: fewbits compare model.onnx model.int8.onnx --data calib/ --resize 256 --crop 224")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@model_options("reference", "other")
@data_option(required=True)
@data_options
@device_option
@click.option("--report", metavar="FILE.html", type=click.Path(path_type=Path), help="Write a page with all layers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def compare(
    reference: Source,
    other: Source,
    options: DataOptions,
    device: str,
    report: Path | None,
    as_json: bool,
    debug: bool,  # noqa: ARG001
) -> None:
    """Compare every activation of OTHER with that of REFERENCE on the same samples."""
    from fewbits.report.json_view import comparison_json, dumps
    from fewbits.report.terminal import show_comparison
    from fewbits.verbs.compare import compare as run

    with ConsoleProgress() as progress:
        result = run(reference, other, options, device=device, report=report, progress=progress)
    if as_json:
        say(dumps(comparison_json(result)).rstrip())
    else:
        show_comparison(result)
        if report is not None:
            say(f"Report: {report}")
