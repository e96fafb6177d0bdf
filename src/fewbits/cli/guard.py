"""A verb's work in a process of its own: an engine that brings it down ends in a sentence.

The process is forked before anything is imported, so that it costs milliseconds. On other systems than Linux the work
is done here. Verbs that try each model in a child process themselves (``engines/child.py``) need no guard.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import click

_NOTE_BYTES = 256
_KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG
# The signals of a process that broke; others were sent to it by somebody.
_BROKEN = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGBUS")
_note: mmap.mmap | None = None


def note_step(stage: str) -> None:
    """Where the work stands, for the sentence should this process break."""
    if _note is not None:
        _note[:] = stage.encode(errors="replace")[:_NOTE_BYTES].ljust(_NOTE_BYTES)


def guarded(work: Callable[[], int]) -> int:
    """Do the work in a forked process and return its exit code; 2, with a sentence, where it broke."""
    global _note
    if not sys.platform.startswith("linux"):
        return work()
    _note = mmap.mmap(-1, _NOTE_BYTES)
    note_step("starting")
    sys.stdout.flush()
    sys.stderr.flush()
    handed_on = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, handed_on)  # until somebody is there to hand them on
    child = os.fork()
    if not child:
        os.setpgid(0, 0)  # Ctrl-C reaches this process once, through its parent
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(_KILL_WITH_PARENT, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handed_on)
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    before = {number: signal.signal(number, hand_on) for number in handed_on}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handed_on)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    name = signal.Signals(os.WTERMSIG(status)).name
    if name not in _BROKEN:
        return 128 + os.WTERMSIG(status)
    stage = _note[:].decode(errors="replace").strip()
    what = f"an engine crashed ({name}) while '{stage}'; nothing was written"
    click.echo(f"fewbits: {what} - try the other engine with --engine, or export the model again", err=True)
    return 2
