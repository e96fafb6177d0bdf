"""In which order groups of layers leave INT8: by the accuracy they give back for the time they cost.

A mix is the first k moves of one list. At k = 0 all is INT8, at its end all is float; which k is enough is found by
halving, with a full evaluation at each step (``fewest``), so that n groups take about log2 n of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fewbits.selection.records import GroupFacts


@dataclass(frozen=True)
class Move:
    """One group kept in float: the noise power it no longer brings in, the microseconds it costs (below 0: saves)."""

    group: str
    noise: float
    lost_us: float


def moves(groups: Sequence[GroupFacts]) -> tuple[Move, ...]:
    """All moves, the best first.

    Those that save time lead, most time first. Then what regains most noise per microsecond. Groups whose time is not
    known come last, by their noise: they are taken to cost as much as the dearest.
    """
    dearest = max((group.saved_us for group in groups if group.saved_us is not None), default=0.0)
    free: list[Move] = []
    paid: list[Move] = []
    unknown: list[Move] = []
    for group in groups:
        known = group.saved_us
        move = Move(group.name, group.noise, max(dearest, 0.0) if known is None else known)
        (unknown if known is None else free if move.lost_us <= 0 else paid).append(move)
    free.sort(key=lambda move: move.lost_us)
    paid.sort(key=lambda move: -move.noise / move.lost_us)
    unknown.sort(key=lambda move: -move.noise)
    return (*free, *paid, *unknown)


def worthwhile(ranked: Sequence[Move], int8_us: float, allowed_us: float) -> int:
    """The most moves after which a network of ``int8_us`` is still expected to take less than ``allowed_us``."""
    expected = itertools.accumulate((move.lost_us for move in ranked), initial=int8_us)
    return max((k for k, time_us in enumerate(expected) if time_us < allowed_us), default=0)


def free_moves(ranked: Sequence[Move], int8_us: float, least_gain: float) -> int:
    """How many moves save time, 0 where all of them together save less than this share of the network's time."""
    saving = [move for move in ranked if move.lost_us < 0]
    return len(saving) if -sum(move.lost_us for move in saving) >= least_gain * int8_us else 0


def fewest(most: int, inside: Callable[[int], bool]) -> int | None:
    """The fewest moves, of 1 to ``most``, that bring a mix inside the budget; None where even the most do not.

    More moves are taken to be at least as accurate. Where that fails by a sample or two, a mix inside the budget is
    found all the same, only not the one with the fewest.
    """
    if most < 1 or not inside(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if inside(middle) else (middle, high)
    return high
