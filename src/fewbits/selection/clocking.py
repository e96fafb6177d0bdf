"""Speed, round by round: a few rounds tell most candidates apart, more are run only among those they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fewbits.data import Sample
from fewbits.measurement.speed import time_sessions
from fewbits.selection.known import MODES, Known
from fewbits.selection.sessions import Sessions

# A short turn tells who is twice as fast; those that are close get longer ones.
SHORT_TURN_S, TURN_S = 0.04, 0.08


class Clock:
    """Interleaved rounds, each journalled as soon as it is over.

    A round has a number; two subjects are compared on the rounds both took part in.
    """

    def __init__(self, known: Known, sessions: Sessions, seed: int) -> None:
        self._known, self._sessions, self._seed = known, sessions, seed
        while (found := known.journal.get("round", str(len(known.rounds)))) is not None:
            known.rounds.append(found)

    def in_common(self, names: Iterable[str]) -> int:
        """The number of rounds in which all of these took part."""
        wanted = set(names)
        return sum(wanted <= found.keys() for found in self._known.rounds)

    def one_round(self, names: Sequence[str], sample: Sample, turn_s: float) -> None:
        """One more round with these in it; those that cannot run are left out, and noted as failed."""
        opened = self._sessions.open((name, mode) for name in names for mode in MODES)
        both = [name for name in names if all((name, mode) in opened for mode in MODES)]
        if not both:
            return
        number = len(self._known.rounds)
        timing = time_sessions(
            {name: opened[name, "latency"] for name in both},
            {name: opened[name, "throughput"] for name in both},
            {name: dict(sample.inputs) for name in both},
            rounds=1,
            turn_s=turn_s,
            seed=self._seed + number,
        )
        found = {
            name: {"samples": t.samples_ms.tolist(), "ms": float(t.round_ms[0]), "fps": float(t.round_fps[0])}
            for name, t in timing.items()
        }
        self._known.rounds.append(found)
        self._known.journal.put("round", str(number), found)
