"""``module:function``: a Python callable that yields ``({input name: array}, target)``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from fewbits.errors import DataError, SampleError

MAX_SAMPLES = 100_000  # an endless generator must end somewhere; ImageNet's validation set has 50,000

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


def is_reference(spec: str) -> bool:
    """Whether a text reads as ``module:function``."""
    return _REFERENCE.fullmatch(spec) is not None


class Source(Protocol):
    """Raw items by index; ``length`` is None until somebody has counted them."""

    length: int | None
    replays: bool

    def get(self, index: int) -> object:
        """Item ``index``; raises IndexError behind the last one."""


def load_source(reference: str) -> Source:
    """Import the module the user named and call the function.

    What it returns is either a sequence (``len`` and ``[index]``, as a list or a PyTorch data set), or
    anything to iterate over; then it is called again whenever an earlier sample is needed.

    Raises:
        DataError: no such module or function, or it raises an exception.
    """
    module_name, function_name = reference.split(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # The user's file lies where the command is run; at the end it cannot hide an installed module.
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:
        raise DataError(f"cannot be imported: {_say(error)}", where=module_name) from error
    if not callable(function):
        raise DataError(f"has no function {function_name}", where=module_name, fix="name it as module:function")
    items = _call(function, reference)
    if hasattr(items, "__getitem__") and hasattr(items, "__len__") and not isinstance(items, Mapping):
        return IndexedSource(items, reference)
    return ReplayedSource(function, items, reference)


class IndexedSource:
    """A sequence the function returned."""

    replays = False

    def __init__(self, items: Sequence[object], reference: str) -> None:
        self._items = items
        self._reference = reference
        self.length: int | None = len(items)

    def get(self, index: int) -> object:
        """Item ``index``; raises SampleError where the sequence raises anything."""
        try:
            return self._items[index]
        except Exception as error:
            raise SampleError(f"raised {_say(error)}", where=f"{self._reference}[{index}]") from error


class ReplayedSource:
    """An iterable the function returned: read forward, started again to go back. Holds one item at most."""

    replays = True

    def __init__(self, function: Callable[[], Any], first: object, reference: str) -> None:
        self._function = function
        self._reference = reference
        self._lock = Lock()
        self._next_index = 0
        self._iterator = self._iterate(first)
        self.length: int | None = None

    def get(self, index: int) -> object:
        """Item ``index``; raises IndexError behind the last, DataError where the function raises."""
        with self._lock:
            if index < self._next_index:
                self._close()
                self._iterator = self._iterate(_call(self._function, self._reference))
                self._next_index = 0
            while True:
                try:
                    item = next(self._iterator)
                except StopIteration:
                    raise IndexError(index) from None
                except Exception as error:
                    where = f"{self._reference}[{self._next_index}]"
                    raise DataError(f"raised {_say(error)}", where=where) from error
                self._next_index += 1
                if self._next_index == index + 1:
                    return item

    def _iterate(self, items: Any) -> Iterator[object]:
        try:
            return iter(items)
        except TypeError:
            raise DataError(
                f"returned {type(items).__name__}, which cannot be iterated over",
                where=self._reference,
                fix="yield ({name: array}, target) for each sample",
            ) from None

    def _close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if callable(close):  # a generator may hold files open
            close()


def _call(function: Callable[[], Any], reference: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise DataError(f"raised {_say(error)}", where=reference, fix="it is called without arguments") from (error)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
