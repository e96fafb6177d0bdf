"""``fewbits report``."""

from __future__ import annotations

from pathlib import Path

import click

from fewbits.cli.console import say


@click.command(epilog="Example: fewbits report run")
@click.argument("run", metavar="RUN_DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page [default: report.html in RUN_DIR].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def report(run: Path, out: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Write the report of a finished or stopped run again."""
    from fewbits.report.json_view import dumps
    from fewbits.report.words import headline
    from fewbits.verbs.report import report as write

    page, story = write(run, out=out)
    verdict = headline(story.choice, finished=story.finished)
    if as_json:
        say(dumps({"report": str(page), "finished": story.finished, "verdict": verdict}).rstrip())
    else:
        say(f"{verdict}\nReport: {page}")
