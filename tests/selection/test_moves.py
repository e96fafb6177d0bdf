"""Which groups leave INT8 first, and how few of them have to: pure functions on made-up figures."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits.selection.moves import Move, fewest, free_moves, moves, worthwhile
from fewbits.selection.records import GroupFacts


def ranked(**figures: tuple[float, float, float] | tuple[float]) -> list[str]:
    """Groups given as only_db, and INT8 and float microseconds where these are known."""
    return [move.group for move in moves([GroupFacts(n, (n,), db, 40.0, *us) for n, (db, *us) in figures.items()])]


def test_what_saves_time_leads_then_noise_per_microsecond() -> None:
    order = ranked(dear=(20, 10, 110), cheap=(23, 10, 20), free=(60, 10, 9), freer=(60, 10, 5), quiet=(50, 10, 20))
    # dear: 1e-2 / 100 us = 1e-4; cheap: 5e-3 / 10 us = 5e-4.
    assert order == ["freer", "free", "cheap", "dear", "quiet"]


def test_groups_without_a_time_come_last_by_their_noise() -> None:
    assert ranked(loud=(10,), soft=(50,), known=(90, 1, 2), louder=(5,)) == ["known", "louder", "loud", "soft"]
    assert ranked(only=(10,)) == ["only"]


def test_as_many_moves_as_still_pay() -> None:
    steps = [Move("a", 1, -5), Move("b", 1, 10), Move("c", 1, 20), Move("d", 1, 30)]
    assert worthwhile(steps, 100, 1000) == 4
    assert worthwhile(steps, 100, 126) == 3  # 95, 105, 125, 155
    assert worthwhile(steps, 100, 125) == 2
    assert worthwhile(steps, 100, 90) == 0


def test_moves_for_speed_alone_must_save_something() -> None:
    steps = [Move("a", 1, -5), Move("b", 1, -1), Move("c", 1, 20)]
    assert free_moves(steps, 100, 0.05) == 2
    assert free_moves(steps, 100, 0.07) == 0
    assert free_moves(steps[2:], 100, 0.0) == 0


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_fewest_are_found_in_logarithmic_many_steps(most: int, needed: int) -> None:
    asked: list[int] = []

    def inside(count: int) -> bool:
        asked.append(count)
        return count >= needed

    assert fewest(most, inside) == (needed if needed <= most else None)
    assert len(asked) <= most.bit_length() + 1
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("answers", list(itertools.product([False, True], repeat=4)))
def test_what_is_found_is_inside_even_where_more_moves_are_not_always_better(answers: tuple[bool, ...]) -> None:
    found = fewest(5, lambda count: count == 5 or answers[count - 1])
    assert found == 5 or (found is not None and answers[found - 1])
