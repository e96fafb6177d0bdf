"""``fewbits devices``."""

from __future__ import annotations

import click

from fewbits.cli.console import say


@click.command(epilog="Example: fewbits devices --device MYRIAD")
@click.option("--device", metavar="NAME", help="All that is known about this one, such as GPU, NCS2 or 'CPU AVX2'.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def devices(device: str | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Show which device runs which format, and what this host's formats are worth."""
    from fewbits.report.devices import devices_json, show_devices
    from fewbits.report.json_view import dumps
    from fewbits.verbs.devices import list_devices

    table = list_devices(device)
    if as_json:
        say(dumps(devices_json(table)).rstrip())
    else:
        show_devices(table)
