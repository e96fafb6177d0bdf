"""The console that reports are printed on."""

from __future__ import annotations

from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 120


def screen() -> Console:
    """As wide as the terminal; where there is none, wide enough for every table."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)
