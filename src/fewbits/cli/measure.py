"""``fewbits measure``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import common_options, data_option, data_options, engine_option, engine_settings, model_options
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


@click.command(epilog="Example: fewbits measure model.onnx model.int8.onnx --data val.csv --resize 256 --crop 224")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="MODEL...")
@model_options("models")
@data_option(required=False)
@data_options
@engine_option()
@engine_settings
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16", "f16"]),
    default="f32",
    show_default=True,
    help="What floating point executes in.",
)
@common_options
def measure(
    models: tuple[Source, ...],
    options: DataOptions,
    engine: str,
    engine_options: tuple[str, ...],
    precision: str,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure MODELs against each other, interleaved; accuracy too where --data is given."""
    from fewbits.report.json_view import dumps, measurements_json
    from fewbits.report.terminal import show_measurements
    from fewbits.verbs.measure import measure as run

    with ConsoleProgress() as progress:
        result = run(
            models,
            options,
            engine=engine,
            device=device,
            engine_options=engine_options,
            precision=precision,
            threads=threads,
            progress=progress,
        )
    if as_json:
        say(dumps(measurements_json(result)).rstrip())
    else:
        show_measurements(result)
