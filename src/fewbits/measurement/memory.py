"""Peak memory of a model, in a process of its own: neither this process nor other models count."""

from __future__ import annotations

from fewbits.engines.child import peak_rss_bytes, try_in_child
from fewbits.measurement.records import Memory, Subject

_RUNS = 5

__all__ = ["measure_memory", "peak_rss_bytes"]


def measure_memory(subject: Subject) -> Memory:
    """Load and run the subject in a fresh interpreter.

    Raises:
        EngineError: it could not be compiled or run, or its process crashed or hung; a model that brings
            down its engine does so here, not in the caller's process.
    """
    found = try_in_child(subject.path, subject.engine, subject.options("latency"), runs=_RUNS)
    return Memory(found.baseline_bytes, found.peak_bytes)
