"""``fewbits convert``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import data_option, data_options, model_options
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


@click.command(epilog="Example: fewbits convert model.onnx --to fp16 -o model.xml")
@click.argument("model", type=click.Path(path_type=Path))
@model_options("model")
@click.option(
    "--to",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Format of the weights, and of FP16 ONNX operators (default: what --target takes, else fp32).",
)
@click.option("--target", metavar="DEVICE", help="The device it is for: CPU, GPU, NPU, MYRIAD, HDDL, …")
@click.option(
    "--input-shape",
    "shapes",
    multiple=True,
    metavar="NAME:1,3,224,224",
    help="Fix an input's sizes; repeatable.",
)
@click.option("--half-io", is_flag=True, help="FP16 inputs and outputs for --to fp16; they stay FP32 otherwise.")
@data_option(required=False)
@data_options
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="OUT.onnx or OUT.xml (IR).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def convert(
    model: Source,
    to: str | None,
    target: str | None,
    shapes: tuple[str, ...],
    half_io: bool,
    options: DataOptions,
    out: Path,
    as_json: bool,
    debug: bool,  # noqa: ARG001
) -> None:
    """Simplify MODEL, write it, and check that it still computes the same: on random input, and on --data."""
    from fewbits.report.json_view import converted_json, dumps
    from fewbits.report.terminal import show_converted
    from fewbits.verbs.convert import convert as run

    with ConsoleProgress() as progress:
        result = run(
            model,
            out=out,
            to=to,
            device=target,
            input_shapes=shapes,
            keep_io=not half_io,
            data=options,
            progress=progress,
        )
    if as_json:
        say(dumps(converted_json(result)).rstrip())
    else:
        show_converted(result)
