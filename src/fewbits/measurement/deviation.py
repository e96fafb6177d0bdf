"""How far a converted model is from the original on the same inputs, and how far rounding alone may take it.

A number with p significant bits (FP32 24, FP16 11, BF16 8) is off by at most u = 2^-p of itself, evenly spread: noise
of u^2/3 per unit of signal. n such roundings one after the other, each handed on with gain 1, add up:

    expected_db = 20 log10 2^p + 10 log10 3 - 10 log10 n

n is the number of operators, in FP32 times the longest sum, whose terms engines add in another order than the original.
Twelve dB less, four times the noise, are still rounding. Networks that cancel large numbers, or are fed what they were
not made for, amplify it; whether that is so is measured: the original's weights are moved at random by as much as the
format rounds, and what this does to the outputs takes the place of the formula (``shaken``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir

from fewbits.engines import Arrays, Engine, Options
from fewbits.errors import EngineError
from fewbits.graph import queries
from fewbits.graph.edits import add_initializer
from fewbits.graph.ops import WEIGHT_INPUT, Role, role
from fewbits.numerics import NoiseSum
from fewbits.numerics.tensors import TensorSpec

SIGNIFICANT_BITS: Final[dict[str, int]] = {"fp32": 24, "fp16": 11, "bf16": 8}
_ALLOWANCE_DB = 12.0
# A doubled result is 0 dB away from the right one. Nothing near that passes, however a network amplifies.
_FLOOR_DB = 3.0
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "BatchNormalization", "LayerNormalization")


@dataclass(frozen=True)
class Deviation:
    """The largest deviation over all outputs.

    Attributes:
        inputs: what was fed, "random" or "data".
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


def run_all(source: ir.Model | Path, engine: Engine, feeds: Sequence[Arrays]) -> list[Arrays]:
    """The outputs for every feed, in FP32 arithmetic; the session is gone afterwards."""
    session = engine.compile(source, Options())
    try:
        dtypes = {spec.name: spec.dtype for spec in session.inputs}
        # A model with FP16 inputs takes the same numbers, rounded.
        typed = [{name: array.astype(dtypes[name], copy=False) for name, array in feed.items()} for feed in feeds]
        return [{name: array.copy() for name, array in session.run(feed).items()} for feed in typed]
    finally:
        session.close()


def deviation(inputs: str, expected: Sequence[Arrays], got: Sequence[Arrays], *, whole_numbers: bool) -> Deviation:
    """Compare outputs, sample by sample.

    Args:
        whole_numbers: whether integer outputs count. A class or position that tips over by a rounding is no measure
            of it.

    Raises:
        EngineError: an output is missing or has another shape.
    """
    noise: dict[str, NoiseSum] = {}
    for one, other in zip(expected, got, strict=True):
        for name, array in one.items():
            if name not in other or other[name].shape != array.shape:
                shape = list(other[name].shape) if name in other else "missing"
                raise EngineError(f"the output {name} is {shape}, not {list(array.shape)}")
            if whole_numbers or array.dtype.kind == "f":
                noise.setdefault(name, NoiseSum()).add(array, other[name])
    worst = min(noise, key=lambda name: noise[name].sqnr_db, default="")
    if not worst:
        return Deviation(inputs, len(expected), "", math.inf, 0.0)
    largest = max(part.max_abs for part in noise.values())
    return Deviation(inputs, len(expected), worst, noise[worst].sqnr_db, largest)


def least_sqnr_db(to: str, model: ir.Model) -> float:
    """What rounding leaves at least of a network of this size, in dB: ``expected_db`` less the allowance."""
    roundings = max(len(model.graph), 1) * (longest_sum(model) if to == "fp32" else 1)
    expected = 20 * SIGNIFICANT_BITS[to] * math.log10(2) + 10 * math.log10(3) - 10 * math.log10(roundings)
    return max(expected - _ALLOWANCE_DB, _FLOOR_DB)


def least_when_shaken(shaken: Deviation) -> float:
    """What is left at least where weights moved by the format's rounding leave ``shaken``."""
    return max(shaken.sqnr_db - _ALLOWANCE_DB, _FLOOR_DB)


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


def shaken(model: ir.Model, to: str, seed: int = 0) -> ir.Model:
    """A copy whose FP32 weights are moved at random, each by up to u = 2^-p of itself.

    In FP32 it is u times the square root of the longest sum, since its rounding is that of sums.
    """
    model = model.clone()
    reach = 2.0 ** -SIGNIFICANT_BITS[to] * (math.sqrt(longest_sum(model)) if to == "fp32" else 1.0)
    rng = np.random.default_rng(seed)
    for value in list(model.graph.initializers.values()):
        array = queries.constant(value)
        readers = queries.users(value)
        if array is None or array.dtype != np.float32 or not all(node.op_type in _WEIGHTED for node in readers):
            continue
        moved = array * (1 + rng.uniform(-reach, reach, array.shape))
        value.replace_all_uses_with(add_initializer(model, f"{value.name}.shaken", moved.astype(np.float32)))
        del model.graph.initializers[value.name or ""]
    return model
