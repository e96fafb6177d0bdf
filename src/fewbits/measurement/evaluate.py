"""Accuracy of many sessions in one pass over the data: each sample is decoded once and shown to all of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from fewbits.data import Sample
from fewbits.engines import Arrays, Session
from fewbits.errors import DataError, EngineError
from fewbits.measurement.metrics import Agreement, Evidence, Metric

T = TypeVar("T")
# Samples held at once. Enough that a session's threads are used well, few enough for large images.
_CHUNK = 16
# Two modes split sums differently, which may turn over a sample that was on the edge, not one in two hundred.
MODES_DIFFER = 0.005
_AGREEMENT = Agreement()


@dataclass
class Evaluation:
    """Evidence of one session, sample by sample in the data's order; ``failure`` where it gave up.

    ``agreement`` is None where the outputs are no classes: there is nothing to agree on.
    """

    evidence: list[Evidence] = field(default_factory=list)
    agreement: list[Evidence] | None = field(default_factory=list)
    failure: str = ""

    def add(
        self, metric: Metric, samples: Sequence[Sample], outputs: Sequence[Arrays], truth: Sequence[Arrays]
    ) -> None:
        """Take down what a session made of the samples; ``truth`` is what the reference made of them.

        Raises:
            DataError: the outputs are not what the metric judges.
        """
        for sample, mine, theirs in zip(samples, outputs, truth, strict=True):
            self.evidence.append(_observed(metric, sample, mine, theirs))
            if self.agreement is not None:
                try:
                    self.agreement.append(_AGREEMENT.observe(mine, None, theirs))
                except DataError:
                    self.agreement = None


def _observed(metric: Metric, sample: Sample, mine: Arrays, theirs: Arrays) -> Evidence:
    """The evidence of one sample; none of it is right where sizes that depend on the data came out otherwise."""
    try:
        return metric.observe(mine, sample.target, theirs)
    except DataError:
        same = mine.keys() == theirs.keys() and all(mine[name].shape == theirs[name].shape for name in theirs)
        if same or not metric.needs_reference:
            raise
        metric.observe(theirs, sample.target, theirs)  # raises where it does not judge such outputs at all
        return 0.0


def evaluate(
    sessions: Mapping[str, Session],
    reference: str,
    samples: Iterable[Sample],
    metric: Metric,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Evaluation]:
    """Show every sample to every session.

    Args:
        sessions: by name; each is run with as many samples at once as it has slots, as it would be deployed.
        reference: the session the others' decisions are compared with; it is run first.

    Raises:
        EngineError: the reference itself failed.
        DataError: the outputs are not what the metric judges.
    """
    found = {name: Evaluation() for name in sessions}
    done = 0
    for chunk in chunks(samples):
        truth = answers(sessions[reference], chunk)
        for name, session in sessions.items():
            if found[name].failure:
                continue
            try:
                outputs = truth if name == reference else answers(session, chunk)
            except EngineError as error:
                found[name].failure = str(error)
                continue
            found[name].add(metric, chunk, outputs, truth)
        done += len(chunk)
        progress(done)
    return found


def until(samples: Iterable[T], deadline: float | None) -> Iterator[T]:
    """At least one sample, and then as many as there is time for; the deadline is one of ``time.monotonic``."""
    for sample in samples:
        yield sample
        if deadline is not None and time.monotonic() > deadline:
            return


def chunks(samples: Iterable[T]) -> Iterator[list[T]]:
    """The samples, a handful at a time."""
    source = iter(samples)
    while chunk := list(itertools.islice(source, _CHUNK)):
        yield chunk


def answers(session: Session, samples: Sequence[Sample]) -> list[Arrays]:
    """Outputs of each sample; thread k of the session takes samples k, k + slots and so on.

    Raises:
        EngineError: the session failed.
    """
    results: list[Arrays] = [{} for _ in samples]

    def work(slot: int) -> None:
        for index in range(slot, len(samples), session.slots):
            outputs = session.run(samples[index].inputs, slot)
            results[index] = {name: array.copy() for name, array in outputs.items()}

    if session.slots == 1:
        work(0)
    else:
        with ThreadPoolExecutor(min(session.slots, len(samples))) as pool:
            list(pool.map(work, range(min(session.slots, len(samples)))))
    return results
