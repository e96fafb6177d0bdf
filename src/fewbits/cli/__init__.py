"""The command line: one thin module per verb, imported when the verb is used."""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from importlib import import_module
from typing import Any

import click

from fewbits import __version__
from fewbits.cli.guard import guarded
from fewbits.errors import FewbitsError

# Verb → module with a click command of the same name.
VERBS = {
    "choose": "fewbits.cli.choose",
    "calibrate": "fewbits.cli.calibrate",
    "convert": "fewbits.cli.convert",
    "measure": "fewbits.cli.measure",
    "compare": "fewbits.cli.compare",
    "devices": "fewbits.cli.devices",
    "inspect": "fewbits.cli.inspect",
    "report": "fewbits.cli.report",
    "demo": "fewbits.cli.demo",
}
# Verbs that hand a foreign model to an engine in their own process.
_GUARDED = ("calibrate", "convert", "inspect")
# Said here as well, so that `fewbits --help` need not import the verbs.
SUMMARIES = {
    "choose": "The main job: which formats should this model run in here?",
    "calibrate": "FP32 model and calibration samples in, INT8 model out.",
    "convert": "Simplify a model and write it in FP32, FP16 or BF16.",
    "measure": "Speed, memory, size, executed formats and accuracy of models.",
    "compare": "Layer by layer: where does another version differ?",
    "devices": "Which device runs which format, and why; what this host has.",
    "inspect": "What is in a model, what can be INT8, where FP16 and BF16 go wrong.",
    "report": "Write the report of a finished or stopped run again.",
    "demo": "The main job on the example that ships with the package.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(VERBS[cmd_name]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: fewbits choose model.onnx --data val.csv --calibration-data calib.csv -o run",
)
@click.version_option(__version__, prog_name="fewbits")
def cli() -> None:
    """Find the fewest bits that keep a model's accuracy, by measuring them on this device."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with the exit code that tells how it went.

    Args:
        arguments: without them those of this process, whose work is then guarded. A program that calls this may have
            threads, which would not be there in a forked process.
    """
    if arguments is None and sys.argv[1:2] and sys.argv[1] in _GUARDED:
        sys.exit(guarded(partial(_run, sys.argv[1:])))
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        code: Any = cli.main(args=arguments, prog_name="fewbits", standalone_mode=False)
    except FewbitsError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        click.echo(f"fewbits: {error}", err=True)
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except click.ClickException as error:
        click.echo(f"fewbits: {error.format_message()}", err=True)
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("fewbits: stopped; finished work is kept, choose goes on with --resume", err=True)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"fewbits: a fault of fewbits itself: {text} - run again with --debug and report it", err=True)
        code = 1
    return code if isinstance(code, int) else 0
