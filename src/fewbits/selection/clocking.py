"""Speed, round by round: a few rounds tell most candidates apart, more are run only among those they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fewbits.data import Sample
from fewbits.engines import Mode
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

    def one_round(self, names: Sequence[str], sample: Sample, turn_s: float, modes: Sequence[Mode] = MODES) -> None:
        """One more round with these in it, in these modes; those that cannot run are left out, and noted as failed."""
        opened = self._sessions.open((name, mode) for name in names for mode in modes)
        able = [name for name in names if all((name, mode) in opened for mode in modes)]
        if not able:
            return
        number = len(self._known.rounds)
        latency, throughput = ({n: opened[n, mode] for n in able if mode in modes} for mode in MODES)
        timing = time_sessions(
            latency,
            throughput,
            {name: dict(sample.inputs) for name in able},
            rounds=1,
            turn_s=turn_s,
            seed=self._seed + number,
        )
        found: dict[str, dict[str, Any]] = {name: {} for name in able}
        for name, t in timing.items():
            if name in latency:
                found[name] |= {"samples": t.samples_ms.tolist(), "ms": float(t.round_ms[0])}
            if name in throughput:
                found[name] |= {"fps": float(t.round_fps[0])}
        self._known.rounds.append(found)
        self._known.journal.put("round", str(number), found)
