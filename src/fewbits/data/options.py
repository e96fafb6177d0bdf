"""Preprocessing values written as text on the command line: ``104,117,123`` and ``256``."""

from __future__ import annotations

import math

from fewbits.errors import DataError


def parse_numbers(text: str, *, option: str) -> tuple[float, ...]:
    """One number, or one per colour: ``"104,117,123"`` -> ``(104.0, 117.0, 123.0)``.

    Raises:
        DataError: not numbers, not finite, or none at all.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{text!r} is not a list of numbers", where=option, fix="write it as 104,117,123") from None
    if not all(math.isfinite(number) for number in numbers):
        raise DataError(f"{text!r} holds a number that is not finite", where=option, fix="write it as 104,117,123")
    return numbers


def parse_size(text: str, *, option: str) -> int | tuple[int, int]:
    """Pixels: ``"256"`` -> 256 (one side, or a square), ``"240,320"`` -> (height 240, width 320).

    Raises:
        DataError: not one or two whole numbers above zero.
    """
    parts = text.replace("x", ",").split(",")
    digits = all(part.strip().isascii() and part.strip().isdigit() for part in parts)
    sizes = [int(part) for part in parts] if digits and max(map(len, parts)) < 10 else []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise DataError(f"{text!r} is not a size in pixels", where=option, fix="write 224, or height,width as 240,320")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])
