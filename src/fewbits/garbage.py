"""When Python looks for cyclic garbage. Models are: nodes know their values, values their nodes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Leave cyclic garbage until the block is done: for work that builds much and takes seconds.

    A collection stops all threads and looks at every object of the program. Building a few models side by side sets
    off two, a tenth of the time that calibrating a small network takes.
    """
    were_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were_on:
            gc.enable()


def collect() -> None:
    """Free now what cycles hold: weights of a model that nobody refers to any more stay for a long time otherwise."""
    gc.collect()
