"""An engine that brings the process down ends in a sentence and exit code 2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="work is guarded on Linux only")

_BEGIN = "import os, signal, sys, time\nfrom fewbits.cli.guard import guarded, note_step\n"


def run(work: str) -> subprocess.CompletedProcess[str]:
    code = f"{_BEGIN}def work():\n    note_step('compiling it')\n    {work}\nsys.exit(guarded(work))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGBUS"])
def test_a_crash_is_one_sentence(name: str) -> None:
    done = run(f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == 2
    assert done.stderr.startswith(f"fewbits: an engine crashed ({name}) while 'compiling it'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_exit_codes_and_output_pass_through(code: int) -> None:
    done = run(f"print('result'); return {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "result\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_work_ends_with_its_parent(number: signal.Signals) -> None:
    code = f"{_BEGIN}def work():\n    print(os.getpid(), flush=True); time.sleep(60); return 0\nguarded(work)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(number)
    parent.wait(20)
    parent.stdout.close()
    for _ in range(200):
        if not _alive(child):
            return
        time.sleep(0.05)
    raise AssertionError("the child outlived its parent")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_interrupting_the_parent_interrupts_the_work_once() -> None:
    code = (
        # A shell that runs things in the background has them ignore it.
        f"{_BEGIN}signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def work():\n    print('ready', flush=True)\n    try:\n        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        time.sleep(0.5); return 130\n    return 0\nsys.exit(guarded(work))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    os.kill(parent.pid, signal.SIGINT)
    assert parent.wait(20) == 130
    parent.stdout.close()
