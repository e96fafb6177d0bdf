"""Accuracy of many sessions in one pass over the data: each sample is decoded once and shown to all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fewbits.data import Sample
from fewbits.engines import Arrays, Session
from fewbits.errors import DataError, EngineError
from fewbits.measurement.metrics import Agreement, Evidence, Metric

# Samples held at once. Enough that a session's threads are used well, few enough for large images.
_CHUNK = 16
# Two modes split sums differently, which may turn over a sample that was on the edge, not one in two hundred.
MODES_DIFFER = 0.005


@dataclass
class Evaluation:
    """Evidence of one session, sample by sample in the data's order; ``failure`` where it gave up."""

    evidence: list[Evidence] = field(default_factory=list)
    agreement: list[Evidence] | None = field(default_factory=list)
    failure: str = ""


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
    order = [reference, *(name for name in sessions if name != reference)]
    found = {name: Evaluation() for name in order}
    agreement = Agreement()
    done = 0
    with ThreadPoolExecutor(max(session.slots for session in sessions.values())) as pool:
        for chunk in _chunks(samples):
            truth: list[Arrays] = []
            for name in order:
                evaluation = found[name]
                if evaluation.failure:
                    continue
                try:
                    outputs = _run(sessions[name], chunk, pool)
                except EngineError as error:
                    if name == reference:
                        raise
                    evaluation.failure = str(error)
                    continue
                truth = truth or outputs
                for sample, mine, theirs in zip(chunk, outputs, truth, strict=True):
                    evaluation.evidence.append(metric.observe(mine, sample.target, theirs))
                    if evaluation.agreement is not None:
                        try:
                            evaluation.agreement.append(agreement.observe(mine, None, theirs))
                        except DataError:  # the outputs are no classes: there is nothing to agree on
                            evaluation.agreement = None
            done += len(chunk)
            progress(done)
    return found


def _chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    source = iter(samples)
    while chunk := list(itertools.islice(source, _CHUNK)):
        yield chunk


def _run(session: Session, chunk: list[Sample], pool: ThreadPoolExecutor) -> list[Arrays]:
    """Outputs of each sample; thread k of the session takes samples k, k + slots and so on."""
    results: list[Arrays] = [{} for _ in chunk]

    def work(slot: int) -> None:
        for index in range(slot, len(chunk), session.slots):
            outputs = session.run(chunk[index].inputs, slot)
            results[index] = {name: array.copy() for name, array in outputs.items()}

    if session.slots == 1:
        work(0)
    else:
        list(pool.map(work, range(min(session.slots, len(chunk)))))
    return results
