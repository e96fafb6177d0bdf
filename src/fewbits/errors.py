"""Errors a person can act on: each says what went wrong, where, and how to fix it.

The exit code belongs to the error, so the command line only has to print and leave:
1 a fault of fewbits itself, 2 the user's input, 3 no candidate fits the budget.
"""

from __future__ import annotations


class FewbitsError(Exception):
    """Base of every error fewbits raises on purpose.

    Args:
        what: what went wrong, one clause without a full stop.
        where: the file, node, option or sample it happened at; empty if there is none.
        fix: what the person can do about it, one clause; empty if nothing helps.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" - {self.fix}" if self.fix else ""
        # One line by contract: foreign messages may bring their own line breaks.
        return " ".join(f"{place}{self.what}{remedy}".split())


class InputError(FewbitsError):
    """The user's input is wrong: a file, an option, data that does not fit the model."""

    exit_code = 2


class ModelError(InputError):
    """The model file cannot be read, is invalid, or holds what fewbits cannot handle."""


class DataError(InputError):
    """The data set cannot be read or does not fit the model."""


class SampleError(DataError):
    """One sample cannot be read; the run goes on without it unless there are too many."""


class OutputError(InputError):
    """The result cannot be written: no space, no permission, a folder where a file should be."""


class EngineError(FewbitsError):
    """An engine could not compile or run a model; the candidate fails, the run goes on."""


class UnsupportedError(FewbitsError):
    """The engine or host cannot do what a candidate asks; the candidate is refused with this sentence."""


class BudgetError(FewbitsError):
    """No candidate fits the budget; the report is written all the same."""

    exit_code = 3
