"""Speed as an engineer would trust it: interleaved rounds in one process, warm-up dropped, every sample kept.

The machine's clock, its other tenants and its temperature drift over seconds. Candidates timed one after the
other would each meet another machine; here each round gives every candidate a short turn, in shuffled order,
so that the ratio of two candidates in one round is a fair pair.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from fewbits.engines import Arrays, Session
from fewbits.measurement.records import Timing

_WARM_UP_RUNS = 2
_LEAST_RUNS = 3
_QUIET_MS = 3.0
_LONGEST_WAIT_S = 0.25


def time_sessions(
    latency: Mapping[str, Session],
    throughput: Mapping[str, Session],
    feeds: Mapping[str, Arrays],
    *,
    rounds: int = 15,
    turn_s: float = 0.08,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Timing]:
    """Time the sessions against each other.

    Args:
        latency: by name, sessions compiled for latency; run one at a time.
        throughput: by name, sessions compiled for throughput; all slots are kept busy. A name that is in one of
            both only is timed in that mode; its figures of the other are NaN.
        feeds: the inputs to run each name with.
        rounds: each gives every session one turn.
        turn_s: how long a turn lasts after its warm-up, at least three runs.
    """
    names = list(dict.fromkeys([*latency, *throughput]))
    samples: dict[str, list[float]] = {name: [] for name in names}
    medians = {name: np.full(rounds, np.nan) for name in names}
    rates = {name: np.full(rounds, np.nan) for name in names}
    shuffle = random.Random(seed)
    for turn in range(rounds):
        shuffle.shuffle(names)
        for name in (name for name in names if name in latency):
            times = _latency_turn(latency[name], feeds[name], turn_s)
            samples[name] += times
            medians[name][turn] = np.median(times)
        for name in (name for name in names if name in throughput):
            rates[name][turn] = _throughput_turn(throughput[name], feeds[name], turn_s)
        progress(turn + 1, rounds)
    return {name: Timing(np.array(samples[name]), medians[name], rates[name]) for name in names}


def _latency_turn(session: Session, feed: Arrays, turn_s: float) -> list[float]:
    _settle()
    for _ in range(_WARM_UP_RUNS):
        session.run(feed)
    times: list[float] = []
    end = time.perf_counter_ns() + int(turn_s * 1e9)
    while len(times) < _LEAST_RUNS or time.perf_counter_ns() < end:
        start = time.perf_counter_ns()
        session.run(feed)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def _throughput_turn(session: Session, feed: Arrays, turn_s: float) -> float:
    """Runs per second with one thread per slot; each thread counts its own runs over its own time."""
    _settle()
    rates = [0.0] * session.slots
    barrier = threading.Barrier(session.slots)
    failures: list[Exception] = []

    def work(slot: int) -> None:
        try:
            session.run(feed, slot)
            barrier.wait()
            runs, start = 0, time.perf_counter_ns()
            end = start + int(turn_s * 1e9)
            while runs < _LEAST_RUNS or time.perf_counter_ns() < end:
                session.run(feed, slot)
                runs += 1
            rates[slot] = runs / ((time.perf_counter_ns() - start) / 1e9)
        except Exception as error:  # handed to the caller's thread below
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(session.slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise next((f for f in failures if not isinstance(f, threading.BrokenBarrierError)), failures[0])
    return sum(rates)


def _settle() -> None:
    """Wait until this process is idle: ONNX Runtime's threads spin for up to 0.1 s after a run."""
    deadline = time.perf_counter() + _LONGEST_WAIT_S
    while time.perf_counter() < deadline:
        before = time.process_time_ns()
        time.sleep(_QUIET_MS / 1e3)
        if time.process_time_ns() - before < 0.2 * _QUIET_MS * 1e6:
            return
