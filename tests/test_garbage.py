"""Collections stop for a block and are as before after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fewbits.garbage import no_collections


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    on = gc.isenabled()
    yield
    (gc.enable if on else gc.disable)()


@pytest.mark.parametrize("on", [True, False])
def test_collections_are_as_before_after_the_block(on: bool) -> None:
    (gc.enable if on else gc.disable)()
    with no_collections():
        assert not gc.isenabled()
        with no_collections():
            pass
        assert not gc.isenabled(), "the inner block leaves the outer one alone"
    assert gc.isenabled() is on


def test_an_error_turns_them_on_again() -> None:
    gc.enable()
    with pytest.raises(KeyError), no_collections():
        raise KeyError
    assert gc.isenabled()
