"""Reading a whole data set in order: decoded ahead, bounded in memory, tolerant of a few bad samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from fewbits.errors import DataError, SampleError

from .dataset import Dataset
from .sample import BadSample, BadSamples, Sample

MAX_BAD_PERCENT = 1
AHEAD_PER_WORKER = 2

_NAMED = 5


def stream(dataset: Dataset, *, workers: int = 2, on_bad: BadSamples | None = None) -> Iterator[Sample]:
    """Every readable sample in order; at most ``2 * workers`` are decoded ahead of the one handed out.

    Unreadable samples are left out and written to ``on_bad`` (name and reason). Closing the iterator
    stops the workers; what they raise is raised here.

    Args:
        dataset: what to read; one that is not ``concurrent`` is read by one worker.
        workers: threads that decode, 1 or more (Pillow and NumPy release the GIL).
        on_bad: the log to fill; without one the names are lost, the limit holds all the same.

    Raises:
        DataError: more than 1% of the data set is unreadable (raised as soon as that is certain;
            names the first few), or a sample does not fit the model.
    """
    return (sample for _, sample in numbered(dataset, range(len(dataset)), workers=workers, on_bad=on_bad))


def numbered(
    dataset: Dataset, indices: Iterable[int], *, workers: int = 2, on_bad: BadSamples | None = None
) -> Iterator[tuple[int, Sample]]:
    """:func:`stream` of some samples only, each with its index; 1% is of the whole data set all the same."""
    if workers < 1:
        raise ValueError("workers must be 1 or more")
    return _stream(dataset, iter(indices), workers if dataset.concurrent else 1, on_bad)


def _stream(
    dataset: Dataset, indices: Iterator[int], workers: int, on_bad: BadSamples | None
) -> Iterator[tuple[int, Sample]]:
    size = dataset.counts_as or len(dataset)
    bad = BadSamples()
    waiting: deque[tuple[int, Future[Sample]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fewbits-read")
    try:
        while True:
            while len(waiting) < AHEAD_PER_WORKER * workers and (index := next(indices, None)) is not None:
                waiting.append((index, pool.submit(dataset.read, index)))
            if not waiting:
                return
            index, future = waiting.popleft()
            try:
                sample = future.result()
            except SampleError as error:
                name = dataset.sample_name(index)
                bad.items.append(BadSample(name, str(error)))
                if on_bad is not None:
                    on_bad.add(name, str(error))
                _check_share(bad if on_bad is None else on_bad, size, dataset.name)
                continue
            del future  # a done future holds its sample until the next one is there
            yield index, sample
            del sample
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_share(bad: BadSamples, size: int, name: str) -> None:
    if len(bad) * 100 <= MAX_BAD_PERCENT * size:
        return
    first = "; ".join(entry.reason for entry in bad.items[:_NAMED])
    raise DataError(
        f"at least {len(bad)} of {size} samples cannot be read, more than {MAX_BAD_PERCENT}%: {first}",
        where=name,
        fix="repair or remove them",
    )
