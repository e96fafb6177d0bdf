"""``fewbits calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import ConsoleProgress, say
from fewbits.cli.options import common_options, data_option, data_options, engine_option, model_options
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


@click.command(epilog="Example: fewbits calibrate model.onnx --data calib/ --resize 256 --crop 224 -o model.int8.onnx")
@click.argument("model", type=click.Path(path_type=Path))
@model_options("model")
@data_option(required=True)
@data_options
@click.option(
    "--method",
    type=click.Choice(["auto", "minmax", "percentile", "mse", "entropy"]),
    default="auto",
    show_default=True,
    help="How ranges are found; auto measures which one costs least.",
)
@click.option(
    "--correct",
    metavar="LIST",
    default="auto",
    show_default=True,
    help="Corrections: none, or of auto, equalize, rounding, bias, bias-measured. auto keeps what helps of the quick "
    "ones; rounding (learned) takes some seconds more and gains most: auto,rounding.",
)
@click.option(
    "--keep-float", metavar="GLOB", multiple=True, help="Nodes or operator types that stay float; repeatable."
)
@click.option(
    "--statistics", type=click.Path(path_type=Path), help="Write the statistics here, or read them from here."
)
@click.option(
    "--ir-version",
    type=int,
    metavar="N",
    help="With OUT.xml: an IR of 2019 (5, 6 or 7) with statistics and FP32 weights.",
)
@engine_option()
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="OUT.onnx (Q/DQ) or OUT.xml (IR).")
@common_options
def calibrate(
    model: Source,
    options: DataOptions,
    method: str,
    correct: str,
    keep_float: tuple[str, ...],
    statistics: Path | None,
    ir_version: int | None,
    engine: str,
    out: Path,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Make an INT8 version of MODEL from calibration samples; they need no labels."""
    from fewbits.report.json_view import calibrated_json, dumps
    from fewbits.report.terminal import show_calibrated
    from fewbits.verbs.calibrate import calibrate as run

    with ConsoleProgress() as progress:
        result = run(
            model,
            options,
            out=out,
            method=method,
            correct=correct,
            keep_float=keep_float,
            engine=engine,
            device=device,
            threads=threads,
            statistics=statistics,
            ir_version=ir_version,
            progress=progress,
        )
    if as_json:
        say(dumps(calibrated_json(result)).rstrip())
    else:
        show_calibrated(result)
