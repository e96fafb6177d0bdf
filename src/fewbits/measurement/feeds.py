"""What a converted model is tried on: the inputs a person would feed, and the ones where rewrites go wrong.

Plausible inputs are random numbers in every size that was found, and masks of 0 and 1 with whole rows masked. Numbers
at the edge are zeros of both signs, rows of one number, numbers of all magnitudes, numbers at the bounds the model
clips at, and large whole numbers where they become floats (FP32 holds them to 2^24, FP16 to 2^11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fewbits.engines import Arrays
from fewbits.errors import EngineError
from fewbits.measurement.inputs import ModelInput
from fewbits.measurement.sizes import Shapes, choices

RANDOM, MASKS, DATA = "random", "masks", "data"
ZEROS, ROWS, WIDE, BOUNDS = "zeros", "constant rows", "large and small numbers", "numbers at its bounds"
WHOLE = "large whole numbers"
PLAUSIBLE: Final = (RANDOM, MASKS, DATA)
_TELLING: Final = (MASKS, ZEROS, WIDE, WHOLE)
_TRIALS = 3
# Once sizes are found that fit, so many more are tried.
_MORE_TRIES = 3
_LATEST_TIME = 2_000_000_000


@dataclass(frozen=True)
class Case:
    """One input and what the original makes of it."""

    kind: str
    feed: Arrays
    expected: Arrays


def cases(
    inputs: Sequence[ModelInput],
    bounds: Sequence[float],
    run: Callable[[Arrays], Arrays],
    *,
    known: Sequence[Shapes] = (),
    heavy: bool = False,
) -> tuple[Case, ...]:
    """Feed the original and keep what it runs on.

    Args:
        known: shapes to begin with, those of the data.
        heavy: one run takes seconds: one random input, and at the edge only what shows most, one sample each.

    Returns:
        Empty where the original runs on none of the sizes tried.
    """
    found: list[Case] = []
    for whole in (None, 1):  # whole numbers of unknown use: 0 and 1, then 1
        shapes = _fitting(inputs, [*known, *choices(inputs)], run, whole, found, 1 if heavy else _TRIALS)
        if shapes:
            break
    else:
        return ()
    for trial in range(len(found), 1 if heavy else _TRIALS):
        found += _tried(RANDOM, _random(inputs, shapes[trial % len(shapes)], trial, whole), run)
    for kind, feed in _special(inputs, bounds, _one_sample(inputs, shapes[0]) if heavy else shapes[0], whole):
        if not heavy or kind in _TELLING:
            found += _tried(kind, feed, run)
    return tuple(found)


def _one_sample(inputs: Sequence[ModelInput], shapes: Shapes) -> Shapes:
    return {
        one.name: (1, *shapes[one.name][1:]) if one.sizes and not isinstance(one.sizes[0], int) else shapes[one.name]
        for one in inputs
    }


def _fitting(
    inputs: Sequence[ModelInput],
    tried: Sequence[Shapes],
    run: Callable[[Arrays], Arrays],
    whole: int | None,
    found: list[Case],
    most: int,
) -> list[Shapes]:
    shapes: list[Shapes] = []
    left = len(tried)
    for trial, one in enumerate(tried):
        if left == 0 or len(shapes) == most:
            break
        left -= 1
        made = _tried(RANDOM, _random(inputs, one, trial, whole), run)
        if made and any(array.size for array in made[0].expected.values()):
            left = _MORE_TRIES if not shapes else left
            shapes.append(one)
            found += made
    return shapes


def _tried(kind: str, feed: Arrays, run: Callable[[Arrays], Arrays]) -> list[Case]:
    try:
        return [Case(kind, feed, run(feed))]
    except EngineError:
        return []


def _random(inputs: Sequence[ModelInput], shapes: Shapes, seed: int, whole: int | None) -> Arrays:
    rng = np.random.default_rng(seed)
    return {one.name: _plausible(one, shapes[one.name], rng, whole) for one in inputs}


def _plausible(one: ModelInput, shape: tuple[int, ...], rng: np.random.Generator, whole: int | None) -> NDArray[Any]:
    if one.use.mask:
        return _padding(shape, rng).astype(one.dtype)
    if one.dtype.kind not in "iub":
        return rng.standard_normal(shape).astype(one.dtype)
    if one.use.below is not None:
        return rng.integers(0, max(one.use.below, 1), shape).astype(one.dtype)
    if one.dtype == np.uint8 or one.use.counted:
        return rng.integers(0, 256 if one.dtype == np.uint8 else 100, shape).astype(one.dtype)
    return (rng.integers(0, 2, shape) if whole is None else np.full(shape, whole)).astype(one.dtype)


def _padding(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Each row 1 up to a length of its own, then 0."""
    if not shape:
        return np.ones(shape)
    lengths = rng.integers(1, max(shape[-1], 1) + 1, (*shape[:-1], 1))
    return np.arange(shape[-1]) < lengths


def _special(
    inputs: Sequence[ModelInput], bounds: Sequence[float], shapes: Shapes, whole: int | None
) -> Iterator[tuple[str, Arrays]]:
    """(kind, input): what differs from a random one are the inputs that the kind is about."""
    base = _random(inputs, shapes, 100, whole)
    rng = np.random.default_rng(101)
    masks = [one.name for one in inputs if one.use.mask]
    if masks:
        for fill in (1, 0):
            yield MASKS, base | {name: _first_row(base[name], fill) for name in masks}
    floats = [one for one in inputs if one.dtype.kind == "f" and not one.use.mask]
    makers: dict[str, Callable[[tuple[int, ...]], NDArray[Any]]] = {
        ZEROS: lambda shape: np.where(rng.integers(0, 2, shape) > 0, 0.0, -0.0),
        ROWS: lambda shape: np.broadcast_to(rng.standard_normal((*shape[:-1], 1)[: len(shape)]), shape),
        WIDE: lambda shape: rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-8, 4, shape),
    }
    if bounds:
        makers[BOUNDS] = lambda shape: rng.choice([*bounds, 0.0, 1.0], shape)
    for kind, make in makers.items() if floats else ():
        with np.errstate(over="ignore"):
            yield kind, base | {one.name: make(shapes[one.name]).astype(one.dtype) for one in floats}
    counted = [one for one in inputs if one.use.counted]
    if counted:
        yield WHOLE, base | {one.name: _large(one, shapes[one.name], rng) for one in counted}


def _first_row(mask: NDArray[Any], fill: int) -> NDArray[Any]:
    """All of it 1, or the first row all 0."""
    made = np.ones_like(mask) if fill else np.array(mask)
    if not fill:
        made[(0,) * max(mask.ndim - 1, 0)] = 0
    return made


def _large(one: ModelInput, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """From a few thousand, where FP16 ends, to times in seconds, where FP32 does."""
    most = min(np.iinfo(str(one.dtype)).max, _LATEST_TIME)
    return np.minimum(np.exp(rng.uniform(np.log(2000), np.log(_LATEST_TIME), shape)), most).astype(one.dtype)
