"""Samples through a session with all its slots busy, in memory that does not grow with their number."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

from fewbits.data import Sample
from fewbits.engines import Arrays, Session


def run_all(
    session: Session,
    samples: Iterable[Sample],
    consume: Callable[[int, int, Arrays], None],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Run every sample once; one thread per slot takes them from a short queue.

    Args:
        consume: called as ``consume(slot, index, outputs)`` in the slot's thread; the outputs may be overwritten
            by the slot's next run.

    Raises:
        Exception: the first failure of a run or of the samples' source; it stops all threads.
    """
    waiting: queue.Queue[tuple[int, Sample] | None] = queue.Queue(maxsize=2 * session.slots)
    failures: list[Exception] = []

    def work(slot: int) -> None:
        while (item := waiting.get()) is not None:
            if failures:
                continue
            index, sample = item
            try:
                consume(slot, index, session.run(sample.inputs, slot))
            except Exception as error:  # handed to the caller's thread below
                failures.append(error)

    threads = [threading.Thread(target=work, args=(slot,), daemon=True) for slot in range(session.slots)]
    for thread in threads:
        thread.start()
    try:
        for index, sample in enumerate(samples):
            if failures:
                break
            waiting.put((index, sample))
            progress(index + 1)
    finally:
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
