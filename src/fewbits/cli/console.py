"""How a person sees a run: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from fewbits.cli.guard import note_step
from fewbits.progress import Progress

_PLAIN_EVERY_S = 5.0


class ConsoleProgress(Progress):
    """Draws on standard error; standard output is for results."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._bar: Bar | None = None
        self._stage = ""
        self._said = 0.0

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[count]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, stage: str, done: int = 0, total: int | None = None) -> None:
        """Show where the work stands."""
        new = stage != self._stage
        self._stage = stage
        if new:
            note_step(stage)
        count = f"{done}/{total}" if total else ""
        if self._bar is not None:
            if new:
                for task in list(self._bar.task_ids):
                    self._bar.remove_task(task)
                self._bar.add_task(stage, total=total, count=count)
            self._bar.update(self._bar.task_ids[-1], completed=done, total=total, count=count)
            return
        if new or time.monotonic() - self._said > _PLAIN_EVERY_S:
            self._said = time.monotonic()
            click.echo(f"{stage} {count}".rstrip(), err=True)

    def warn(self, sentence: str) -> None:
        """Show a warning once, above the bar."""
        if sentence in self.warnings:
            return
        super().warn(sentence)
        if self._bar is not None:
            self._console.print(f"warning: {sentence}", style="yellow", markup=False, highlight=False)
        else:
            click.echo(f"warning: {sentence}", err=True)


def say(text: str) -> None:
    """A line of result on standard output."""
    click.echo(text)
    sys.stdout.flush()
