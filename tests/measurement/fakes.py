"""Sessions that compute by a function and keep a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbits.engines import Arrays, Session
from fewbits.numerics.tensors import TensorSpec


class FakeSession(Session):
    """``work(inputs, slot)`` gives the outputs; ``log`` holds (slot, thread) of every run."""

    def __init__(self, work: Callable[[Mapping[str, NDArray[Any]], int], Arrays], slots: int = 1) -> None:
        self.inputs = self.outputs = (TensorSpec("x", (1,), np.dtype(np.float32)),)
        self.slots = slots
        self.settings = {}
        self._work = work
        self._lock = threading.Lock()
        self._busy: set[int] = set()
        self.log: list[tuple[int, int]] = []
        self.collisions = 0

    def run(self, inputs: Mapping[str, NDArray[Any]], slot: int = 0) -> Arrays:
        assert 0 <= slot < self.slots
        with self._lock:
            self.log.append((slot, threading.get_ident()))
            self.collisions += slot in self._busy
            self._busy.add(slot)
        try:
            return self._work(inputs, slot)
        finally:
            with self._lock:
                self._busy.discard(slot)
