"""How long work tells its caller where it stands: stages with counts, and warnings."""

from __future__ import annotations


class Progress:
    """Says nothing and keeps the warnings; the command line brings one that draws a bar."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def step(self, stage: str, done: int = 0, total: int | None = None) -> None:
        """``done`` of ``total`` in this stage; the first call of a new stage ends the one before."""

    def warn(self, sentence: str) -> None:
        """Something the person should know; the work goes on."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
