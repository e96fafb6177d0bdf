"""Open sessions: kept from step to step while memory allows, since compiling one takes longer than many runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fewbits.devices.host import free_bytes
from fewbits.engines import ENGINES, Mode, Session
from fewbits.errors import EngineError, UnsupportedError
from fewbits.selection.known import Known

Key = tuple[str, Mode]
# Of a model that was not weighed: what a session holds, in sizes of its file.
_FILES_HELD = 3


class Sessions:
    """Sessions by subject and mode, as many at once as fit into half of the free memory."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._room = free_bytes() // 2
        self._open: dict[Key, Session] = {}

    def open(self, wanted: Iterable[Key]) -> dict[Key, Session]:
        """All of these at once; others are closed where memory is short, the one used longest ago first.

        A subject that cannot be compiled or run is noted as failed and left out.
        """
        wanted = list(wanted)
        used = sum(self._need(key) for key in {*self._open, *wanted})
        for key in [key for key in self._open if key not in wanted]:
            if used <= self._room:
                break
            used -= self._need(key)
            self._open.pop(key).close()
        found = {}
        for key in wanted:
            session = self._open.pop(key, None) or self._compile(*key)
            if session is not None:
                found[key] = self._open[key] = session
        return found

    def failure(self, name: str) -> str:
        """Why the subject is out."""
        return self._known.failures[name]

    def groups(self, keys: Sequence[Key]) -> list[list[Key]]:
        """The keys in order, in as few groups as can be open at once."""
        groups: list[list[Key]] = [[]]
        used = 0
        for key in keys:
            if groups[-1] and used + self._need(key) > self._room:
                groups.append([])
                used = 0
            groups[-1].append(key)
            used += self._need(key)
        return [group for group in groups if group]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()

    def _need(self, key: Key) -> int:
        memory = self._known.memory.get(key[0])
        if memory is None:
            return _FILES_HELD * self._known.size_bytes(key[0])
        return memory.peak_bytes - memory.baseline_bytes

    def _compile(self, name: str, mode: Mode) -> Session | None:
        """A session that has run in every slot, or None after noting why there is none."""
        subject = self._known.subjects[name]
        try:
            session = ENGINES[subject.engine].compile(subject.path, subject.options(mode))
            for slot in range(session.slots):
                session.run({spec.name: np.zeros(spec.single, spec.dtype) for spec in session.inputs}, slot)
        except (EngineError, UnsupportedError) as error:
            self._known.fail(name, str(error))
            return None
        key = f"{name} {mode}"
        if self._known.journal.get("settings", key) is None:
            self._known.journal.put("settings", key, dict(session.settings))
        return session
