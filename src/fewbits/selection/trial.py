"""Putting candidates to the test, with each measurement taken as far as it can still decide something.

A few rounds of the clock for all, accuracy on a first stretch for all, then accuracy on the whole test set for
those that may be chosen, fastest first, and more rounds for those that are close. Every finished piece is journalled.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx_ir as ir

from fewbits.data import Sample, Store
from fewbits.errors import DataError, EngineError
from fewbits.measurement.interval import Drop
from fewbits.measurement.metrics import Metric
from fewbits.measurement.plain import SAMPLES
from fewbits.measurement.records import Measurement, Subject, Timing
from fewbits.progress import Progress
from fewbits.selection import clocking, proving, weighing
from fewbits.selection.clocking import Clock
from fewbits.selection.decide import limit
from fewbits.selection.gain import Gain, fastest, gain, unbeaten
from fewbits.selection.journal import Journal
from fewbits.selection.judging import OPENING, STRETCH, Judge
from fewbits.selection.known import MODES, Known
from fewbits.selection.records import Budget
from fewbits.selection.sessions import Sessions

# Rounds for all; for those that are quoted or close; and the most, where it is still unclear: these are in the mode
# that decides only.
QUICK, SURE, MOST = 5, 10, 30
_LEAST = 3
# Less of a difference is not worth more rounds.
_MATTERS = 1.03


class Trial:
    """Measures subjects against FP32. All steps may be called again, after ``add`` too: what is done is not repeated.

    Args:
        plain: the FP32 subjects; the fastest of them is the reference.
        stored: subjects that execute as FP32 does, so that they can only win by their size.
        data, metric, budget: what accuracy is judged on, by, and against.
        judge_by, finish_by: when accuracy and the rest must end, by ``time.monotonic``.
    """

    def __init__(
        self,
        subjects: Iterable[Subject],
        *,
        plain: Iterable[str],
        stored: Iterable[str] = (),
        data: Store,
        metric: Metric,
        budget: Budget,
        journal: Journal,
        progress: Progress,
        seed: int = 0,
        judge_by: float = math.inf,
        finish_by: float = math.inf,
    ) -> None:
        self.known = Known(journal, progress)
        for subject in subjects:
            self.known.add(subject)
        self.budget, self.mode = budget, budget.mode
        self.reference = ""
        self._plain, self._stored = tuple(plain), set(stored)
        self.data, self.metric = data, metric
        self._judge_by, self._finish_by = judge_by, finish_by
        self._sessions = Sessions(self.known)
        self._clock = Clock(self.known, self._sessions, seed)
        self._judge: Judge | None = None

    def add(self, subject: Subject) -> None:
        """One more candidate, whose file is written; the steps that follow take it in.

        Raises:
            ValueError: there is one of that name already.
        """
        if subject.name in self.known.subjects:
            raise ValueError(f"there is a candidate {subject.name} already")
        self.known.add(subject)

    def confirm(self, name: str, allowed: float) -> Drop:
        """Its drop against the reference on the whole test set, or on as much of it as rules the candidate out.

        Samples are shown in stretches, in the mode whose speed decides; after each the interval of the drop is
        looked at, and where it lies wholly above ``allowed`` (a fraction) no more are shown.

        Raises:
            EngineError: the candidate cannot be compiled or run; it is among ``known.failures`` then.
            RuntimeError: no reference is settled yet (``settle``).
        """
        judge = self._judged()
        while True:
            stop = judge.reached(name) + STRETCH
            judge.show([self.reference, name], stop)
            if name in self.known.failures:
                raise EngineError(self.known.failures[name], where=name)
            drop = judge.drop(name)
            if drop.low > allowed or judge.finished(name) or self.late:
                return drop

    def quick_clock(self, names: Iterable[str] | None = None) -> dict[str, Timing]:
        """A few interleaved rounds of these subjects (all, where none are named) and the reference; their speeds.

        Those that cannot be run are left out and stand among ``known.failures``.
        """
        wanted = list(dict.fromkeys([*([self.reference] if self.reference else []), *(names or self.known.alive())]))
        self._run_rounds(wanted, QUICK, clocking.SHORT_TURN_S)
        return {name: self.known.timing(name) for name in wanted if name not in self.known.failures}

    def weigh(self) -> None:
        """Peak memory of all; whoever crashes is out."""
        weighing.weigh(self.known, self.known.alive())

    def settle(
        self, model: ir.Model, original: ir.Model | Path | None = None, names: Iterable[str] | None = None
    ) -> str:
        """The reference: the fastest FP32 subject that computes what the model says; its name.

        Args:
            original: the file the model was read from, where ONNX Runtime reads it too.

        Raises:
            EngineError: FP32 runs on no engine.
        """
        proving.prove_fp32(
            self.known, self._sessions, model, original or model, self._first(SAMPLES), self._plain_alive(), self.mode
        )
        weighing.look_inside(self.known, self._plain_alive(), self._sample())
        self.quick_clock(names)
        plain = self._plain_alive()
        if not plain:
            said = "; ".join(f"{name}: {why}" for name, why in self.known.failures.items())
            raise EngineError(f"FP32 runs on no engine: {said}")
        self.reference = fastest({name: self.known.timing(name) for name in plain}, self.budget)
        self._judge = Judge(
            self.known,
            self._sessions,
            self.data,
            self.metric,
            self.reference,
            mode=self.mode,
            confidence=self.budget.confidence,
            deadline=self._judge_by,
        )
        return self.reference

    def measure(self) -> None:
        """Accuracy and speed as far as they decide: all on a first stretch, then whoever may be chosen.

        A candidate is through when its drop lies wholly above the budget, when the test set is at its end, or when
        one that is faster beyond the noise has been found inside the budget. Those that are left are clocked until
        it is clear which is the fastest; what that shows may bring up others, so both go on until nothing is left.
        """
        judge = self._judged()
        if late := [name for name in self.known.alive() if not self._clock.in_common([self.reference, name])]:
            self.quick_clock(late)
        judge.show([self.reference, *self.known.alive()], STRETCH)
        while True:
            # A round is cheaper than a stretch, and those it shows to be slower need no stretch.
            self._clock_leaders(SURE)
            unjudged = [name for name in self.leaders() if not judge.finished(name)]
            if unjudged and not self.late:
                judge.show([self.reference, *unjudged], min(map(judge.reached, unjudged)) + STRETCH)
            elif not self._clock_leaders(MOST):
                break
        while not judge.finished(self.reference) and not self.late:
            judge.show([self.reference], judge.reached(self.reference) + STRETCH)

    def compare_modes(self) -> None:
        """The mode that does not decide must compute the same, or its speed is withheld."""
        samples = dict(self.data.between(0, min(OPENING, len(self.data))))
        seen = self._judged().opening
        proving.compare_modes(self.known, self._sessions, samples, self.known.alive(), self.mode, seen)

    def look_inside(self) -> None:
        """What the kernels of each compute in; FP32 that computes in less is out."""
        weighing.look_inside(self.known, self.known.alive(), self._sample())

    def close(self) -> None:
        """Free all sessions."""
        self._sessions.close()

    def drop(self, name: str) -> Drop:
        """Its drop against the reference on the samples both have seen."""
        return self._judged().drop(name)

    def differing(self, name: str) -> tuple[int, ...] | None:
        """The positions of the test samples it answers otherwise than the reference; None where none are classes."""
        return self._judged().differing(name)

    def gain(self, base: str, other: str) -> Gain:
        """How many times better ``other`` is than ``base`` by the objective."""
        one, two, via = (self._measurement(name) for name in (base, other, self.reference))
        return gain(one, two, self.budget, via)

    def best(self) -> str:
        """Of those measured to be inside the budget the best in the median; the reference where there is none."""
        inside = [name for name in self.known.alive() if self._able(name) and self._judged().finished(name)]
        return max(inside, key=lambda name: self.gain(self.reference, name).median, default=self.reference)

    @property
    def late(self) -> bool:
        """Whether a time budget has left no time for accuracy."""
        return time.monotonic() > self._judge_by

    def leaders(self) -> list[str]:
        """Of those that may still be chosen the ones that none of the others is faster than for certain."""
        able = [name for name in self.known.alive() if self._able(name)]
        return unbeaten(able, self.gain)

    def short(self) -> int:
        """The least number of samples seen by one that should have seen more, had there been time; 0 if none should."""
        judge, whole = self._judged(), len(self.data)
        due = {name: min(STRETCH, whole) for name in self.known.alive()}
        due |= dict.fromkeys([self.reference, *self.leaders()], whole)
        return min((judge.reached(name) for name, samples in due.items() if judge.reached(name) < samples), default=0)

    def _plain_alive(self) -> list[str]:
        return [name for name in self._plain if name not in self.known.failures]

    def _able(self, name: str) -> bool:
        """Better than the reference perhaps, and inside the budget so far."""
        judge = self._judged()
        if name in self._plain or not judge.reached(name):
            return False
        drop = judge.drop(name)
        over = drop.estimate > self.budget.max_drop if judge.finished(name) else drop.low > self.budget.max_drop
        if over or limit(self._measurement(name), self.budget):
            return False
        if limit(self._measurement(self.reference), self.budget):
            return True
        if name in self._stored and self.budget.objective != "size":
            return False
        better = self.gain(self.reference, name)
        clocked = self._clock.in_common([self.reference, name]) >= MOST
        return (better.low if clocked else better.high) > 1.0

    def _clock_leaders(self, most: int) -> bool:
        """More rounds for those that may be chosen, beyond SURE only where it needs some; whether there were any."""
        leaders = self.leaders()
        together = [self.reference, *leaders]
        if not leaders or self.budget.objective == "size":
            return False
        wanted = SURE
        if any(self._unclear(one, other) for one in together for other in leaders if one != other):
            wanted = max(SURE, min(most, self._clock.in_common(together) + 1))
        before = len(self.known.rounds)
        self._run_rounds(together, wanted, clocking.TURN_S)
        return len(self.known.rounds) > before

    def _unclear(self, one: str, other: str) -> bool:
        """Whether more rounds may show that ``other`` is faster, by more than anyone cares about."""
        better = self.gain(one, other)
        return better.low <= 1.0 and better.high > _MATTERS

    def _run_rounds(self, names: Sequence[str], wanted: int, turn_s: float) -> None:
        """Rounds until these have so many in common; three at least, whatever the time."""
        while True:
            names = [name for name in names if name not in self.known.failures]
            done = self._clock.in_common(names)
            if not names or done >= wanted or (done >= _LEAST and time.monotonic() > self._finish_by):
                return
            self.known.progress.step("speed", done, wanted)
            self._clock.one_round(names, self._sample(), turn_s, MODES if done < SURE else (self.mode,))

    def _measurement(self, name: str) -> Measurement:
        return Measurement(self.known.timing(name), self.known.size_bytes(name))

    def _judged(self) -> Judge:
        if self._judge is None:
            raise RuntimeError("no reference is settled yet")
        return self._judge

    def _first(self, count: int) -> list[Sample]:
        found = [sample for _, sample in itertools.islice(self.data.between(0, len(self.data)), count)]
        if not found:
            raise DataError("no test sample could be read", where=self.data.dataset.name)
        return found

    def _sample(self) -> Sample:
        return self._first(1)[0]
