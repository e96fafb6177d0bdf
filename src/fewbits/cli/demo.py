"""``fewbits demo``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.choose import finish
from fewbits.cli.console import ConsoleProgress


@click.command(epilog="Example: fewbits demo -o fewbits-demo")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("fewbits-demo"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def demo(out: Path, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Choose a format for the example network, which reads handwritten digits."""
    from fewbits.verbs.demo import demo as run

    with ConsoleProgress() as progress:
        decision = run(out=out, progress=progress)
    finish(decision, out, as_json=as_json)
