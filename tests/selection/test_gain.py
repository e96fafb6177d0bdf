"""Who is faster, where not everybody took part in every round."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.measurement.records import Measurement, Timing
from fewbits.selection.gain import Gain, fastest, gain, unbeaten
from fewbits.selection.records import Budget

LATENCY, THROUGHPUT = Budget(), Budget(objective="throughput")


def clocked(ms: dict[int, float], size: int = 100) -> Measurement:
    """Round number → time at batch 1; twice as many runs a second with all slots busy."""
    times = np.array(list(ms.values()))
    return Measurement(Timing(times, times, 2000 / times, tuple(ms)), size)


def test_only_rounds_in_common_are_compared() -> None:
    """The machine was ten times slower in rounds 2 and 3: unpaired medians would say that b is slower."""
    a = clocked({0: 4, 1: 4.4, 4: 4})
    b = clocked({0: 2, 1: 2.2, 2: 20, 3: 20, 4: 2})
    for budget in (LATENCY, THROUGHPUT):
        found = gain(a, b, budget)
        assert (found.low, found.median, found.high) == pytest.approx((2, 2, 2))
        back = gain(b, a, budget)
        assert (back.low, back.median, back.high) == pytest.approx((0.5, 0.5, 0.5))


def test_without_a_round_in_common_the_reference_stands_between() -> None:
    reference = clocked({0: 10, 1: 10, 2: 30, 3: 30})
    a, b = clocked({0: 5, 1: 4}), clocked({2: 5, 3: 6})
    found = gain(a, b, LATENCY, via=reference)
    assert found.median == pytest.approx((30 / 5 + 30 / 6) / 2 / ((10 / 5 + 10 / 4) / 2))
    assert (found.low, found.high) == pytest.approx((5 / 2.5, 6 / 2))
    with pytest.raises(ValueError, match="at least one"):
        gain(a, b, LATENCY)


def test_size_needs_no_round() -> None:
    assert gain(clocked({0: 1}, 300), clocked({1: 1}, 100), Budget(objective="size")) == Gain(3, 3, 3)


def test_the_fastest_is_so_in_the_rounds_of_all() -> None:
    timings = {"a": clocked({0: 4, 1: 4, 2: 1}).timing, "b": clocked({0: 3, 1: 3, 5: 9}).timing}
    assert fastest(timings, LATENCY) == fastest(dict(reversed(timings.items())), THROUGHPUT) == "b"


def test_whoever_nobody_beats_for_certain_is_left() -> None:
    speed = {"slow": 1.0, "quick": 2.0, "as quick": 2.05}

    def better(base: str, other: str) -> Gain:
        ratio = speed[other] / speed[base]
        return Gain(ratio * 0.9, ratio, ratio * 1.1)

    assert unbeaten(list(speed), better) == ["quick", "as quick"]
    assert unbeaten(["slow"], better) == ["slow"]
