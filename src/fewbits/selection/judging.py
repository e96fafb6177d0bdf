"""Accuracy, stretch by stretch: all subjects see the first samples, the rest only those it may still decide about."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from fewbits.data import Sample, Store
from fewbits.engines import Arrays, Mode, Session
from fewbits.errors import DataError, EngineError
from fewbits.measurement.evaluate import Evaluation, answers, chunks, until
from fewbits.measurement.interval import Drop, paired_drop
from fewbits.measurement.metrics import Metric, from_json, to_json
from fewbits.selection.known import Known
from fewbits.selection.sessions import Sessions

STRETCH = 64
# Of the first samples all outputs are kept, to compare the other mode with.
OPENING, _OPENING_BYTES = 32, 256 << 20
# The reference's outputs that are kept for passes to come.
_TRUTH_BYTES = 256 << 20


class Judge:
    """Evidence of each subject in the mode whose speed decides, on the first samples of the test data.

    A stretch that was seen is journalled; what a time budget cut short goes on from there.

    Args:
        reference: the subject the others' decisions are compared with, and their drops taken against.
        deadline: no stretch goes on beyond this (``time.monotonic``), but each shows a few samples at least.
    """

    def __init__(
        self,
        known: Known,
        sessions: Sessions,
        samples: Store,
        metric: Metric,
        reference: str,
        *,
        mode: Mode,
        confidence: float,
        deadline: float,
    ) -> None:
        self._known, self._sessions, self._samples, self._metric = known, sessions, samples, metric
        self.reference = reference
        self._mode, self._confidence, self._deadline = mode, confidence, deadline
        self._truth: dict[int, Arrays] = {}
        self._truth_bytes = 0
        self._opening: dict[str, dict[int, Arrays]] = {}
        self._opening_bytes = 0
        self._drops: dict[tuple[str, int], Drop] = {}

    def reached(self, name: str) -> int:
        """The position in the test data up to which the subject has been judged."""
        key = (name, self._mode)
        while found := self._known.journal.get("evidence", self._key(name, self._known.reached.get(key, 0))):
            self._take(name, found)
        return self._known.reached.get(key, 0)

    def finished(self, name: str) -> bool:
        """Whether there is no sample left that it has not seen."""
        return self.reached(name) >= len(self._samples)

    def drop(self, name: str) -> Drop:
        """Its drop on the samples that it and the reference have both seen."""
        theirs, mine = (self._known.evidence[n, self._mode].evidence for n in (self.reference, name))
        pairs = min(len(theirs), len(mine))
        if (name, pairs) not in self._drops:
            self._drops[name, pairs] = paired_drop(self._metric, theirs[:pairs], mine[:pairs], self._confidence)
        return self._drops[name, pairs]

    def differing(self, name: str) -> tuple[int, ...] | None:
        """The positions of the samples whose answer is not the reference's; None where the outputs are no classes."""
        key = (name, self._mode)
        return None if self._known.evidence[key].agreement is None else tuple(self._known.differing[key])

    def show(self, names: Iterable[str], stop: int) -> None:
        """Show these subjects the samples up to ``stop``, those at the same position in one pass.

        Raises:
            EngineError: the reference failed.
            DataError: no sample can be read, or the outputs are not what the metric judges.
        """
        stop, late = min(stop, len(self._samples)), time.monotonic() > self._deadline
        at: dict[int, list[str]] = {}
        for name in dict.fromkeys(names):
            start = self.reached(name)
            if name not in self._known.failures and start < stop and not (start and late):
                at.setdefault(start, []).append(name)
        for start, together in at.items():
            for group in self._sessions.groups([(name, self._mode) for name in together]):
                self._pass([name for name, _ in group], start, stop)

    def _pass(self, names: Sequence[str], start: int, stop: int) -> None:
        opened = self._sessions.open((name, self._mode) for name in dict.fromkeys([self.reference, *names]))
        if (self.reference, self._mode) not in opened:
            why = self._known.failures.get(self.reference)
            raise EngineError(f"the reference {self.reference} cannot be run: {why}")
        found = {name: Evaluation() for name in names if (name, self._mode) in opened}
        differing: dict[str, list[int]] = {name: [] for name in found}
        reached = stop
        for chunk in chunks(until(self._samples.between(start, stop), self._deadline)):
            samples = [sample for _, sample in chunk]
            truth = self._true(opened[self.reference, self._mode], chunk)
            for name, evaluation in found.items():
                if evaluation.failure:
                    continue
                try:
                    mine = truth if name == self.reference else answers(opened[name, self._mode], samples)
                except EngineError as error:
                    evaluation.failure = str(error)
                    continue
                evaluation.add(self._metric, samples, mine, truth)
                indices = [index for index, _ in chunk]
                shares = zip(indices, (evaluation.agreement or [])[-len(chunk) :], strict=False)
                differing[name] += [index for index, share in shares if isinstance(share, int | float) and share < 1]
                self._keep(name, indices, mine)
            reached = chunk[-1][0] + 1
            self._known.progress.step("accuracy", reached, len(self._samples))
        if time.monotonic() <= self._deadline:
            reached = stop
        for name, evaluation in found.items():
            if not start and not evaluation.evidence and not evaluation.failure:
                raise DataError("no test sample could be read", where=self._samples.dataset.name)
            seen = _evaluation_json(evaluation) | {"stop": reached, "differing": differing[name]}
            self._known.journal.put("evidence", self._key(name, start), seen)
            self._take(name, seen)

    def opening(self, name: str) -> dict[int, Arrays]:
        """Outputs by position of the first samples, those that this run has seen and kept."""
        return self._opening.get(name, {})

    def _keep(self, name: str, indices: Sequence[int], outputs: Sequence[Arrays]) -> None:
        first = {index: arrays for index, arrays in zip(indices, outputs, strict=True) if index < OPENING}
        size = sum(array.nbytes for arrays in first.values() for array in arrays.values())
        if self._opening_bytes + size <= _OPENING_BYTES:
            self._opening_bytes += size
            self._opening.setdefault(name, {}).update(first)

    def _true(self, reference: Session, chunk: Sequence[tuple[int, Sample]]) -> list[Arrays]:
        """The reference's outputs: those it gave in an earlier pass, or new ones."""
        if all(index in self._truth for index, _ in chunk):
            return [self._truth[index] for index, _ in chunk]
        outputs = answers(reference, [sample for _, sample in chunk])
        self._truth_bytes += sum(array.nbytes for arrays in outputs for array in arrays.values())
        if self._truth_bytes <= _TRUTH_BYTES:
            self._truth.update(zip((index for index, _ in chunk), outputs, strict=True))
        return outputs

    def _key(self, name: str, start: int) -> str:
        return f"{name} {self._mode} from {start} against {self.reference}"

    def _take(self, name: str, found: dict[str, Any]) -> None:
        """Add a stretch to what is known."""
        key, more = (name, self._mode), _evaluation(found)
        known = self._known.evidence.setdefault(key, Evaluation())
        known.evidence += more.evidence
        if known.agreement is not None:
            known.agreement = None if more.agreement is None else known.agreement + more.agreement
        self._known.differing.setdefault(key, []).extend(found["differing"])
        self._known.reached[key] = found["stop"]
        if more.failure:
            self._known.failures[name] = known.failure = more.failure


def _evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    agreement = evaluation.agreement
    return {
        "evidence": [to_json(e) for e in evaluation.evidence],
        "agreement": None if agreement is None else [to_json(e) for e in agreement],
        "failure": evaluation.failure,
    }


def _evaluation(known: dict[str, Any]) -> Evaluation:
    agreement = known["agreement"]
    return Evaluation(
        [from_json(e) for e in known["evidence"]],
        None if agreement is None else [from_json(e) for e in agreement],
        known["failure"],
    )
