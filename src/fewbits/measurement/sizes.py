"""Sizes for a model's free dimensions: several plausible ones, other than 1, that show axes which are mixed up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

from fewbits.measurement.inputs import ModelInput

Shapes = dict[str, tuple[int, ...]]
# (batch, the other free sizes in the order they appear). Small and distinct ones first; then multiples of what
# networks divide by; then one size for all, where a model takes equal ones only.
_LADDER: Final = (
    (2, (5, 7, 11, 13)),
    (3, (7, 4, 9, 6)),
    (2, (8, 16, 24, 12)),
    (2, (64, 96, 128, 160)),
    (2, (8,)),
    (1, (5, 7, 11, 13)),
    (1, (8,)),
    (1, (64, 96, 128, 160)),
    (1, (64,)),
    (1, (224,)),
    (1, (1600,)),
    (1, (1,)),
)
_IMAGES: Final = (
    (2, (64, 96)),
    (3, (96, 64)),
    (1, (37, 53)),
    (2, (64,)),
    (1, (64, 96)),
    (1, (224, 320)),
    (1, (224,)),
    (1, (416,)),
    (2, (7, 11)),
    (1, (1,)),
)
# Numbers in all inputs together, unless a model takes no fewer.
_MOST_NUMBERS: Final = 4_000_000


def choices(inputs: Sequence[ModelInput]) -> Iterator[Shapes]:
    """Shapes for all inputs, the most telling first; one where no size is free.

    The same symbol gets the same size in every input. Free sizes without a name are first taken to be equal where
    they stand on the same axis, then to differ from input to input. ``a + b`` is the sum of the sizes a and b.
    """
    if all(isinstance(size, int) for one in inputs for size in one.sizes):
        yield {one.name: tuple(size for size in one.sizes if isinstance(size, int)) for one in inputs}
        return
    images = any(len(one.sizes) > 3 and any(not isinstance(s, int) for s in one.sizes[2:]) for one in inputs)
    known: list[Shapes] = []
    most = max(_MOST_NUMBERS, 2 * _numbers(_assigned(inputs, 1, (1,), by_axis=True)))
    for by_axis in (True, False):
        for batch, others in _IMAGES if images else _LADDER:
            shapes = _assigned(inputs, batch, others, by_axis=by_axis)
            if shapes not in known and _numbers(shapes) <= most:
                known.append(shapes)
                yield shapes


def _numbers(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _assigned(inputs: Sequence[ModelInput], batch: int, others: tuple[int, ...], *, by_axis: bool) -> Shapes:
    given: dict[str, int] = {}
    count = 0
    made: Shapes = {}
    keys = {one.name: [_key(one.name, axis, s, by_axis) for axis, s in enumerate(one.sizes)] for one in inputs}
    for one in inputs:
        for axis, key in enumerate(keys[one.name]):
            if isinstance(key, str) and key not in given and not _sum(key):
                given[key] = batch if axis == 0 else others[count % len(others)]
                count += axis != 0
    for one in inputs:
        made[one.name] = tuple(key if isinstance(key, int) else _size(key, given) for key in keys[one.name])
    return made


def _key(name: str, axis: int, size: int | str | None, by_axis: bool) -> int | str:
    if isinstance(size, int | str) and size != "":
        return size
    return f"?{axis}" if by_axis or axis == 0 else f"?{name}?{axis}"


def _sum(key: str) -> list[str]:
    """The parts of ``a + b``; none where the symbol is no sum."""
    parts = [part.strip() for part in key.split("+")]
    return parts if len(parts) > 1 and all(re.fullmatch(r"\w+", part) for part in parts) else []


def _size(key: str, given: dict[str, int]) -> int:
    parts = _sum(key)
    if not parts:
        return given[key]
    return sum(int(part) if part.isdigit() else given.get(part, 3) for part in parts)
