"""Processes that have imported what the work needs and fork for each piece of it: 0.1 s instead of one.

A server does one piece at a time, in a fork that it waits for; several at once take several servers, started as they
are needed. They end when this process does. Where forking is not safe, each piece gets a fresh interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORKS = sys.platform == "linux"
_SERVE = "serve"


@dataclass(frozen=True)
class Ended:
    """How a piece of work ended: its exit code (negative: the signal that ended it) and what it printed."""

    returncode: int
    stdout: str


class OvertimeError(Exception):
    """It did not end in time, and was ended."""


def work_elsewhere(module: str, engine: str, job: Mapping[str, Any], wall_s: float) -> Ended:
    """Have ``python -m module engine job`` done, in a fork of a server of that module where there can be one.

    Raises:
        OvertimeError: it took longer than ``wall_s``.
    """
    if not _FORKS:
        return _fresh(module, engine, job, wall_s)
    server = _idle_one(module) or _Server(module)
    try:
        ended = server.work(engine, job, wall_s)
    except (OSError, ValueError):  # the server itself is gone
        server.close()
        return _fresh(module, engine, job, wall_s)
    except BaseException:  # overtime, or a person's interrupt: nobody knows what it is doing now
        server.close()
        raise
    _idle.put(server)
    return ended


def _idle_one(module: str) -> _Server | None:
    """A server of this module that this very process started; a fork of it has a copy of the list."""
    kept, found = [], None
    with contextlib.suppress(queue.Empty):
        while found is None:
            server = _idle.get_nowait()
            if (server.module, server.owner) == (module, os.getpid()):
                found = server
            else:
                kept.append(server)
    for server in kept:
        _idle.put(server)
    return found


def serve(work: Callable[[str, Mapping[str, Any]], None]) -> None:
    """A server's life: a line of JSON in, a fork that does the work, its process number and its end out."""
    for line in sys.stdin:
        engine, job, file = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                nothing = os.open(os.devnull, os.O_RDWR)
                for target, source in ((0, nothing), (1, out), (2, nothing)):
                    os.dup2(source, target)
                work(engine, job)
                sys.stdout.flush()
                code = 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class _Server:
    def __init__(self, module: str) -> None:
        self.module, self.owner = module, os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the process a person talks to; this one ends with it
        )

    def work(self, engine: str, job: Mapping[str, Any], wall_s: float) -> Ended:
        assert self._process.stdin is not None
        with tempfile.TemporaryDirectory(prefix="fewbits-") as folder:
            said = Path(folder) / "said"
            print(json.dumps([engine, job, str(said)]), file=self._process.stdin, flush=True)
            pid = int(self._line())
            up = threading.Event()

            def stop() -> None:
                up.set()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

            timer = threading.Timer(wall_s, stop)
            timer.start()
            try:
                code = int(self._line())
            finally:
                timer.cancel()
            if up.is_set():
                raise OvertimeError
            return Ended(code, said.read_text(encoding="utf-8", errors="replace") if said.exists() else "")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.kill()
        self._process.wait()


_idle: queue.LifoQueue[_Server] = queue.LifoQueue()


@atexit.register
def close_idle() -> None:
    """End the servers that do nothing now."""
    with contextlib.suppress(queue.Empty):
        while True:
            server = _idle.get_nowait()
            if server.owner == os.getpid():
                server.close()


def _fresh(module: str, engine: str, job: Mapping[str, Any], wall_s: float) -> Ended:
    command = [sys.executable, "-m", module, engine, json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=wall_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise OvertimeError from error
    return Ended(done.returncode, done.stdout)
