"""Random weights as the prototxt's fillers say, and where it says nothing, such that signals keep their size.

A filler is Caffe's rule for starting a training (``filler.hpp``). fan_in is the count of numbers one output reads,
fan_out that of the outputs one input reaches, both as Caffe takes them from the blob's shape [O, I, …].

Without a filler Caffe starts from zeros, and a network of zeros tells nothing. Weights are then normal with

    std = 1 / sqrt(fan_in * m),      m = mean square of the layer's input as estimated from the layers before,

He initialisation (arXiv:1502.01852) with the estimate in place of the rectifier's 1/2: every output has mean square 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fewbits.frontends.caffe.parameters import Parameters

Weights = NDArray[np.float32]
Shape = tuple[int, ...]
_FANS = ("FAN_IN", "FAN_OUT", "AVERAGE")


def fan_in(shape: Shape) -> int:
    """Numbers that one output reads: [O, I, kh, kw] → I * kh * kw."""
    return math.prod(shape[1:])


def keep_spread(shape: Shape, rng: np.random.Generator, mean_square: float) -> Weights:
    """Normal weights whose outputs have mean square 1 for inputs of ``mean_square``."""
    return _normal(shape, rng, 1 / math.sqrt(max(fan_in(shape) * mean_square, 1e-12)))


def fill(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:
    """Weights by a filler of the file; one without a type is "constant", without a value 0.

    Raises:
        ModelError: an unknown filler, or one that does not fit the shape.
    """
    kind = filler.text("type", "constant")
    if kind not in _FILLERS:
        raise filler.error(f"unknown filler '{kind}'", fix=f"use one of {', '.join(sorted(_FILLERS))}")
    return _FILLERS[kind](shape, filler, rng)


def _normal(shape: Shape, rng: np.random.Generator, std: float) -> Weights:
    drawn = rng.standard_normal(shape, np.float32)
    drawn *= np.float32(std)
    return drawn


def _uniform(shape: Shape, rng: np.random.Generator, low: float, high: float) -> Weights:
    drawn = rng.random(shape, np.float32)
    drawn *= np.float32(high - low)
    drawn += np.float32(low)
    return drawn


def _fan(shape: Shape, filler: Parameters) -> float:
    ins, outs = fan_in(shape), math.prod(shape) / (shape[1] if len(shape) > 1 else 1)
    return {"FAN_IN": ins, "FAN_OUT": outs, "AVERAGE": (ins + outs) / 2}[
        filler.choice("variance_norm", _FANS, "FAN_IN")
    ]


def _constant(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:  # noqa: ARG001
    return np.full(shape, filler.number("value", 0.0), np.float32)


def _between(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:
    return _uniform(shape, rng, filler.number("min", 0.0), filler.number("max", 1.0))


def _gaussian(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:
    drawn = _normal(shape, rng, filler.number("std", 1.0))
    drawn += np.float32(filler.number("mean", 0.0))
    sparse = filler.integer("sparse", -1, low=-1)
    if sparse >= 0:  # so many inputs of each output are not zero
        drawn *= rng.random(shape, np.float32) < sparse / shape[0]
    return drawn


def _xavier(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:
    bound = math.sqrt(3 / _fan(shape, filler))
    return _uniform(shape, rng, -bound, bound)


def _msra(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:
    return _normal(shape, rng, math.sqrt(2 / _fan(shape, filler)))


def _unit_ball(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:  # noqa: ARG001
    drawn = _uniform(shape, rng, 0.0, 1.0).reshape(shape[0], -1)
    drawn /= drawn.sum(axis=1, keepdims=True)
    return drawn.reshape(shape)


def _bilinear(shape: Shape, filler: Parameters, rng: np.random.Generator) -> Weights:  # noqa: ARG001
    if len(shape) != 4 or shape[2] != shape[3]:
        raise filler.error(f"a bilinear filler for weights of shape {list(shape)}", fix="it needs a square kernel")
    factor = math.ceil(shape[3] / 2)
    center = (2 * factor - 1 - factor % 2) / (2.0 * factor)
    ramp = 1 - np.abs(np.arange(shape[3]) / factor - center)
    return np.broadcast_to(np.outer(ramp, ramp).astype(np.float32), shape).copy()


_FILLERS: dict[str, Callable[[Shape, Parameters, np.random.Generator], Weights]] = {
    "constant": _constant,
    "uniform": _between,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _unit_ball,
    "bilinear": _bilinear,
}
