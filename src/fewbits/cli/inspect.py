"""``fewbits inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import data_option, data_options, model_options
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


@click.command(epilog="Example: fewbits inspect model.onnx --data calib.npz --preprocess preprocess.toml")
@click.argument("model", type=click.Path(path_type=Path))
@model_options("model")
@data_option(required=False)
@data_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def inspect(model: Source, options: DataOptions, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Say what is in MODEL, what can be INT8 and what not, and where FP16 or BF16 would go wrong."""
    from fewbits.report.inspection import inspection_json, show_inspection
    from fewbits.report.json_view import dumps
    from fewbits.verbs.inspect import inspect as run

    with ConsoleProgress() as progress:
        result = run(model, options, progress=progress)
    if as_json:
        say(dumps(inspection_json(result)).rstrip())
    else:
        show_inspection(result)
