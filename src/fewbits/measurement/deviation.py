"""How far a converted model is from the original on the same inputs, and how far rounding alone may take it.

A number with p significant bits (FP32 24, FP16 11, BF16 8) is off by at most u = 2^-p of itself, evenly spread: noise
of u^2/3 per unit of signal. n such roundings one after the other, each handed on with gain 1, add up:

    expected_db = 20 log10 2^p + 10 log10 3 - 10 log10 n

n is the number of operators, in FP32 times the longest sum, whose terms engines add in another order than the original.
Twelve dB less, four times the noise, are still rounding. Networks that cancel large numbers, or are fed what they were
not made for, amplify it. Whether that is so is measured on the original file alone: its constants and float inputs are
moved at random by as much as the format rounds, and what this does to its outputs takes the place of the formula.

A network may amplify only so far: ``floor_db``. In FP32 noise of 1 % (40 dB) would be rounding a hundred thousand times
over, and in 16 bits noise of a third (10 dB) is a result nobody can use; either is refused, whatever moving says.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from fewbits.engines import Arrays, Engine, Options
from fewbits.errors import EngineError
from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, role
from fewbits.numerics import NoiseSum
from fewbits.numerics.tensors import TensorSpec

SIGNIFICANT_BITS: Final[dict[str, int]] = {"fp32": 24, "fp16": 11, "bf16": 8}
_ALLOWANCE_DB = 12.0
_FLOOR_DB: Final[dict[str, float]] = {"fp32": 40.0, "fp16": 10.0, "bf16": 10.0}
_FLOATING = "fcV"  # V: bfloat16, which NumPy does not know


@dataclass(frozen=True)
class Deviation:
    """The largest deviation over all outputs.

    Attributes:
        inputs: what was fed: "random", "data", or one of the other kinds of ``feeds``.
        output: the one with the lowest ``sqnr_db``.
        max_abs: the largest difference of any number of any output.
    """

    inputs: str
    samples: int
    output: str
    sqnr_db: float
    max_abs: float


def random_feeds(
    inputs: Sequence[TensorSpec], vocabulary: Mapping[str, int], count: int, seed: int = 0
) -> list[Arrays]:
    """Standard normal numbers, grey values for uint8, positions below the input's vocabulary (0 and 1 if unknown)."""
    rng = np.random.default_rng(seed)

    def one(spec: TensorSpec) -> np.ndarray:
        if spec.dtype.kind == "f":
            return rng.standard_normal(spec.single).astype(spec.dtype)
        below = 256 if spec.dtype == np.uint8 else vocabulary.get(spec.name, 2)
        return rng.integers(0, below, spec.single).astype(spec.dtype)

    return [{spec.name: one(spec) for spec in inputs} for _ in range(count)]


def run_all(source: ir.Model | Path, engine: Engine, feeds: Sequence[Arrays], *, free: bool = False) -> list[Arrays]:
    """The outputs for every feed, in FP32 arithmetic; the session is gone afterwards.

    Args:
        free: leave free sizes free instead of fixing them to 1, so that feeds of any size can be run.
    """
    session = engine.compile(source, Options(shapes=() if free else None))
    try:
        dtypes = {spec.name: spec.dtype for spec in session.inputs}
        # A model with FP16 inputs takes the same numbers, rounded; one that reads less is fed less.
        typed = ({n: array.astype(dtypes[n], copy=False) for n, array in feed.items() if n in dtypes} for feed in feeds)
        return [flat(session.run(feed)) for feed in typed]
    finally:
        session.close()


def flat(outputs: Mapping[str, Any]) -> Arrays:
    """A copy of the outputs as arrays; parts of sequences and of maps have names of their own, what is absent none."""
    found: Arrays = {}
    for name, value in outputs.items():
        if isinstance(value, dict):
            found |= flat({f"{name}[{key}]": part for key, part in value.items()})
        elif isinstance(value, list | tuple):
            found |= flat({f"{name}[{index}]": part for index, part in enumerate(value)})
        elif value is not None:
            found[name] = np.array(value)
    return found


def noise_sums(
    expected: Sequence[Arrays], got: Sequence[Arrays], *, whole_numbers: bool, drawn: Collection[str] = ()
) -> dict[str, NoiseSum]:
    """Compare outputs, sample by sample: sums by output name.

    Args:
        whole_numbers: whether integer outputs count. A class or position that tips over by a rounding is no measure
            of it.
        drawn: outputs of random numbers, of which only shape and type can be compared.

    Raises:
        EngineError: an output is missing, or has another shape or kind of number.
    """
    noise: dict[str, NoiseSum] = {}
    for one, other in zip(expected, got, strict=True):
        for name, array in one.items():
            if name not in other or other[name].shape != array.shape:
                shape = list(other[name].shape) if name in other else "missing"
                raise EngineError(f"the output {name} is {shape}, not {list(array.shape)}")
            mine, theirs = other[name], array
            if (mine.dtype.kind in _FLOATING) != (theirs.dtype.kind in _FLOATING):
                raise EngineError(f"the output {name} is {mine.dtype}, not {theirs.dtype}")
            if name in drawn:
                continue
            if array.dtype.kind in "OUS":
                mine, theirs = np.asarray(mine == theirs), np.ones(array.shape, bool)
            if whole_numbers or array.dtype.kind in _FLOATING:
                noise.setdefault(name, NoiseSum()).add(theirs, mine)
    return noise


def deviation(inputs: str, expected: Sequence[Arrays], got: Sequence[Arrays], *, whole_numbers: bool) -> Deviation:
    """Compare outputs, sample by sample; see ``noise_sums``."""
    return worst_of(inputs, len(expected), noise_sums(expected, got, whole_numbers=whole_numbers))


def worst_of(inputs: str, samples: int, noise: Mapping[str, NoiseSum]) -> Deviation:
    """The output that deviates most."""
    worst = min(noise, key=lambda name: noise[name].sqnr_db, default="")
    if not worst:
        return Deviation(inputs, samples, "", math.inf, 0.0)
    largest = max(part.max_abs for part in noise.values())
    return Deviation(inputs, samples, worst, noise[worst].sqnr_db, largest)


@dataclass(frozen=True)
class Rounding:
    """How much rounding a network of this size makes: its operators, and the longest sum of products."""

    operators: int
    longest: int

    @classmethod
    def of(cls, model: ir.Model) -> Rounding:
        """Of this model."""
        return cls(max(len(model.graph), 1), longest_sum(model))

    def least_sqnr_db(self, to: str, *, alike: bool = False) -> float:
        """What is left at least, in dB: ``expected_db`` less the allowance.

        Args:
            alike: terms may be alike; so are their roundings then, whose sum grows as their number, not as its root.
        """
        terms = self.longest if to == "fp32" else 1
        roundings = self.operators * (terms**2 if alike else terms)
        expected = 20 * SIGNIFICANT_BITS[to] * math.log10(2) + 10 * math.log10(3) - 10 * math.log10(roundings)
        return max(expected - _ALLOWANCE_DB, _FLOOR_DB[to])

    def reach(self, to: str) -> float:
        """How far numbers are moved, as a share of themselves: u, in FP32 sqrt(longest) u for the rounding of sums."""
        return 2.0 ** -SIGNIFICANT_BITS[to] * (math.sqrt(self.longest) if to == "fp32" else 1.0)


def is_rounding(to: str, noise: NoiseSum, moved: Sequence[NoiseSum], *, edge: bool) -> bool:
    """Whether noise above the formula's is what moving the original by the format's rounding does to it.

    Args:
        moved: the noise of the original with its numbers moved.
        edge: on inputs at the edge a network may amplify without limit: a row of one number minus its mean is
            nothing but rounding. A number that is not finite where the original's is passes only if moving does that.
    """
    allowed = max((one.noise_energy for one in moved), default=0.0) * 10 ** (_ALLOWANCE_DB / 10)
    if edge:
        return noise.noise_energy <= allowed
    return math.isfinite(noise.noise_energy) and noise.noise_energy <= allowed and noise.sqnr_db >= _FLOOR_DB[to]


def longest_sum(model: ir.Model) -> int:
    """The most products any output number of a convolution or matrix product sums."""
    longest = 1
    for node in model.graph:
        if role(node.op_type) is not Role.COMPUTE or len(node.inputs) < 2:
            continue
        weights = node.inputs[WEIGHT_INPUT]
        shape = None if weights is None else queries.dims(weights)
        if shape and all(shape):
            sizes = [size for size in shape if size is not None]
            summed = sizes[-2:-1] if node.op_type == "MatMul" else sizes[1:]
            longest = max(longest, math.prod(summed))
    return longest
