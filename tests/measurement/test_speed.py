"""How speed is taken: rounds, warm-up, slots and failures. No real time is measured here."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeSession

from fewbits.errors import EngineError
from fewbits.measurement import speed
from fewbits.measurement.speed import time_sessions

FEED = {"x": np.zeros(1, np.float32)}


class Clock:
    """Time that passes only when a session runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ns = 0
        monkeypatch.setattr(
            speed,
            "time",
            SimpleNamespace(
                perf_counter_ns=lambda: self.ns,
                perf_counter=lambda: self.ns / 1e9,
                process_time_ns=lambda: 0,
                sleep=lambda _: None,
            ),
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def timed(clock: Clock, ms: float, order: list[str] | None = None, name: str = "") -> FakeSession:
    def work(_inputs: object, _slot: int) -> dict:
        clock.ns += int(ms * 1e6)
        if order is not None:
            order.append(name)
        return {}

    return FakeSession(work)


def turns(order: list[str]) -> list[str]:
    return [name for name, _ in itertools.groupby(order)]


@pytest.mark.parametrize("rounds", [1, 6])
def test_every_session_has_its_turn_in_every_round(clock: Clock, rounds: int) -> None:
    order: list[str] = []
    costs = {"a": 1.0, "b": 2.0, "c": 64.0}
    latency = {name: timed(clock, ms, order, name) for name, ms in costs.items()}
    throughput = {name: timed(clock, ms / 2, order, f"{name} all") for name, ms in costs.items()}
    seen: list[tuple[int, int]] = []
    timing = time_sessions(
        latency,
        throughput,
        dict.fromkeys(costs, FEED),
        rounds=rounds,
        turn_s=0.016,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i + 1, rounds) for i in range(rounds)]
    assert set(timing) == set(costs)
    for name, ms in costs.items():
        np.testing.assert_array_equal(timing[name].round_ms, np.full(rounds, ms))
        np.testing.assert_allclose(timing[name].round_fps, np.full(rounds, 2000 / ms))
        runs = max(3, int(16 / ms))  # a turn lasts 16 ms, and at least three runs
        assert timing[name].samples_ms.tolist() == [ms] * (runs * rounds)
        assert timing[name].latency_ms == {"p50": ms, "p90": ms, "p99": ms, "n": runs * rounds}
    taken = turns(order)
    assert len(taken) == 6 * rounds
    for start in range(0, 6 * rounds, 6):
        assert sorted(taken[start : start + 3]) == ["a", "b", "c"]
        assert sorted(taken[start + 3 : start + 6]) == ["a all", "b all", "c all"]


def test_the_order_is_shuffled_by_the_seed(clock: Clock) -> None:
    def orders(seed: int) -> list[str]:
        order: list[str] = []
        names = "abcd"
        time_sessions(
            {n: timed(clock, 1, order, n) for n in names},
            {n: timed(clock, 1) for n in names},
            dict.fromkeys(names, FEED),
            rounds=8,
            turn_s=0.001,
            seed=seed,
        )
        return order

    first = orders(0)
    assert first == orders(0)
    assert first != orders(1)
    taken = turns(first)
    assert len({tuple(taken[i : i + 4]) for i in range(0, len(taken) - 3, 4)}) > 2


def test_warm_up_runs_are_not_recorded(clock: Clock) -> None:
    """The first runs of every turn find cold caches: here they take a thousand times as long."""
    count = itertools.count()

    def work(_inputs: object, _slot: int) -> dict:
        clock.ns += 1_000_000_000 if next(count) % 7 < 2 else 1_000_000
        return {}

    throughput = timed(clock, 1)
    timing = time_sessions({"a": FakeSession(work)}, {"a": throughput}, {"a": FEED}, rounds=4, turn_s=0.005)
    assert timing["a"].samples_ms.tolist() == [1.0] * 20  # 2 + 5 runs in each turn
    assert len(throughput.log) == 4 * (1 + 5)


def test_percentiles_keep_the_tail(clock: Clock) -> None:
    count = itertools.count()

    def work(_inputs: object, _slot: int) -> dict:
        clock.ns += 50_000_000 if next(count) % 102 == 60 else 1_000_000
        return {}

    timing = time_sessions({"a": FakeSession(work)}, {"a": timed(clock, 1)}, {"a": FEED}, rounds=1, turn_s=0.149)
    latency = timing["a"].latency_ms
    assert (latency["p50"], latency["n"]) == (1.0, 100)
    assert timing["a"].samples_ms.max() == 50.0
    assert latency["p99"] > latency["p90"]


def test_throughput_keeps_all_slots_busy_at_once() -> None:
    slots = 5
    together = threading.Barrier(slots)
    first = set()

    def work(_inputs: object, slot: int) -> dict:
        if slot not in first:
            first.add(slot)
            together.wait(timeout=60)  # only passes while all the others run as well
        return {}

    session = FakeSession(work, slots)
    timing = time_sessions({"a": FakeSession(lambda *_: {})}, {"a": session}, {"a": FEED}, rounds=2, turn_s=0.001)
    assert {slot for slot, _ in session.log} == set(range(slots))
    assert session.collisions == 0
    assert (timing["a"].round_fps > 0).all()


def test_rates_of_all_slots_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread counts its own runs over its own time; here each thread has a clock of its own."""
    mine = threading.local()

    def now() -> int:
        return getattr(mine, "ns", 0)

    def work(_inputs: object, slot: int) -> dict:
        mine.ns = now() + (slot + 1) * 1_000_000
        return {}

    monkeypatch.setattr(
        speed,
        "time",
        SimpleNamespace(
            perf_counter_ns=now, perf_counter=lambda: now() / 1e9, process_time_ns=lambda: 0, sleep=lambda _: None
        ),
    )
    timing = time_sessions({"a": FakeSession(work)}, {"a": FakeSession(work, 2)}, {"a": FEED}, rounds=1, turn_s=0.02)
    np.testing.assert_allclose(timing["a"].round_fps, [1000 + 500])


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_a_failure_reaches_the_caller_and_nothing_hangs(mode: str, after: int, slots: int) -> None:
    count = itertools.count()

    def work(_inputs: object, slot: int) -> dict:
        if slot == slots - 1 and next(count) >= after:
            raise EngineError("the engine gave up")
        return {}

    failing = FakeSession(work, slots)
    good = FakeSession(lambda *_: {})
    latency = {"good": good, "bad": FakeSession(work) if mode == "latency" else good}
    if mode == "latency" and slots > 1:
        latency["bad"] = FakeSession(lambda _i, _s: work(_i, slots - 1))
    caught: list[BaseException] = []

    def measure() -> None:
        try:
            time_sessions(
                latency,
                {"good": good, "bad": failing if mode == "throughput" else good},
                {"good": FEED, "bad": FEED},
                rounds=2,
                turn_s=0.001,
            )
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert [str(error) for error in caught] == ["the engine gave up"]
    assert isinstance(caught[0], EngineError)
