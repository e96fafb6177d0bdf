"""The device table as a person and a program read it."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fewbits.devices.lookup import FORMATS
from fewbits.devices.records import MEANING, Device, DeviceTable, Fact
from fewbits.report.json_view import host_json
from fewbits.report.screen import screen

_CURRENT = "current"


def devices_json(table: DeviceTable) -> dict[str, Any]:
    """What ``devices --json`` prints: one entry for each device and format; ``last_release`` null for current ones."""
    return {
        "host": host_json(table.host),
        "devices": [
            {
                "device": device.name,
                "format": fact.format,
                "level": fact.level,
                "reason": fact.reason,
                "measured": fact.measured,
                "last_release": device.last_release,
            }
            for device in table.devices
            for fact in device.facts
        ],
        "engines": {engine: list(devices) for engine, devices in table.here.items()},
    }


def show_devices(table: DeviceTable) -> None:
    """All devices with the verdict for this host last, or all that is known about the one asked for."""
    console = screen()
    host = table.host
    console.print(Text(f"{host.cpu}, {host.cores} cores", style="bold"))
    console.print(Text(f"instruction sets: {' '.join(host.isa) or 'none known'}", style="dim"))
    if table.asked is not None:
        console.print()
        _explain(table.asked, console)
        return
    console.print()
    _grid(table, console)
    console.print()
    for level, meaning in MEANING.items():
        console.print(Text(f"  {level}: {meaning}", style="dim"))
    console.print(Text("  * measured by us on an AMD Zen 4; the rest is documented, not measured", style="dim"))
    console.print(Text("  the reasons: fewbits devices --device NAME", style="dim"))
    for engine, names in table.here.items():
        console.print(Text(f"  {engine} has {', '.join(names)} here", style="dim"))
    console.print()
    _explain(table.devices[0], console)


def _grid(table: DeviceTable, console: Console) -> None:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("device", *FORMATS, "also", "last release"):
        grid.add_column(name, no_wrap=True)
    for device in table.devices:
        also = " ".join(fact.format for fact in device.facts if fact.format not in FORMATS)
        marks = [_mark(device.fact(name)) for name in FORMATS]
        grid.add_row(*map(Text, (device.name, *marks, also, device.last_release or _CURRENT)))
    console.print(grid)


def _mark(fact: Fact) -> str:
    return f"{fact.level}{'*' if fact.measured else ''}"


def _explain(device: Device, console: Console) -> None:
    """Every format with its sentence, and for a retired device what still runs it."""
    last = f", last run by OpenVINO {device.last_release}" if device.last_release else ""
    console.print(Text(f"{device.name}: {device.title}{last}", style="bold"))
    rows = Table.grid(padding=(0, 2))
    for _ in range(3):
        rows.add_column(overflow="fold")
    for fact in device.facts:
        source = "measured" if fact.measured else "documented, not measured"
        rows.add_row(Text(f"  {fact.format}"), Text(fact.level), Text(f"{fact.reason} ({source})"))
    console.print(rows)
    if device.fp16_only:
        console.print(Text("FP16 is the only choice: it takes nothing else that fewbits builds.", style="bold green"))
    if device.retired:
        console.print(Text(f"{device.runs_on}."))
        console.print(Text(f"  its file: fewbits convert MODEL --target {device.name} -o model.xml", style="dim"))
    if device.fp16_only:
        trial = f"fewbits choose MODEL --data D --device {device.name} --emulate"
        console.print(Text(f"  its accuracy, tried here: {trial}", style="dim"))
