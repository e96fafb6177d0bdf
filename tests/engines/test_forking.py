"""Work in a fork of a server: it ends as it would in a fresh interpreter, and the next piece does not feel it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fewbits.engines import forking
from fewbits.engines.forking import Ended, OvertimeError, close_idle, work_elsewhere

MODULE = """
import json, os, signal, sys, time
from fewbits.engines.forking import serve
STARTED = os.getpid()

def work(engine, job):
    print(engine, job["n"], flush=True)
    match job["do"]:
        case "crash": os.kill(os.getpid(), signal.SIGSEGV)
        case "raise": raise ValueError
        case "leave": os._exit(7)
        case "hang": time.sleep(60)
        case "who": print(STARTED)

if __name__ == "__main__":
    serve(work) if sys.argv[1] == "serve" else work(sys.argv[1], json.loads(sys.argv[2]))
"""


@pytest.fixture(params=["forks", "fresh"])
def module(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "piecework.py").write_text(MODULE, encoding="utf-8")
    source = Path(forking.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{source}")
    monkeypatch.setattr(forking, "_FORKS", forking._FORKS and request.param == "forks")
    close_idle()
    yield "piecework"
    close_idle()


def test_each_piece_ends_as_it_does_and_the_next_one_goes_on(module: str) -> None:
    codes = {"crash": -11, "raise": 1, "leave": 7, "nothing": 0}
    for number, (what, code) in enumerate(codes.items()):
        ended = work_elsewhere(module, "e", {"do": what, "n": number}, 30)
        assert ended == Ended(code, f"e {number}\n")


def test_what_takes_too_long_is_ended(module: str) -> None:
    with pytest.raises(OvertimeError):
        work_elsewhere(module, "e", {"do": "hang", "n": 0}, 1)
    assert work_elsewhere(module, "e", {"do": "nothing", "n": 1}, 30).returncode == 0


def test_several_at_once_do_not_mix(module: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(lambda n: work_elsewhere(module, "e", {"do": "nothing", "n": n}, 30).stdout, range(3)))
    assert ran == [f"e {n}\n" for n in range(3)]


@pytest.mark.skipif(not forking._FORKS, reason="each piece has a fresh interpreter here")
def test_one_server_does_one_piece_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "piecework.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(forking.__file__).parents[2]}")
    close_idle()
    who = [work_elsewhere("piecework", "e", {"do": "who", "n": 0}, 30).stdout for _ in range(2)]
    assert len(set(who)) == 1
    # One that is gone is replaced.
    (server,) = forking._idle.queue
    server._process.kill()
    server._process.wait()
    assert work_elsewhere("piecework", "e", {"do": "who", "n": 0}, 30).stdout not in who
    close_idle()
