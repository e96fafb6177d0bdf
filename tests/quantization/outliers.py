"""Networks in which a few channels are far louder than all others."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from models import network

LOUD = [3, 17]


def drawn(shape: tuple[int, ...], axis: int, loudness: float, seed: int) -> np.ndarray:
    """Weights of unit gain whose ``LOUD`` channels along the axis are louder by that factor."""
    fan_in = math.prod(shape) / shape[0 if len(shape) == 4 else 1]
    made = np.random.default_rng(seed).normal(0, 1 / math.sqrt(fan_in), shape).astype(np.float32)
    np.moveaxis(made, axis, 0)[LOUD] *= loudness
    return made


def convolutions(loudness: float) -> ir.Model:
    """What the first makes loud the second listens to less: all channels matter alike."""
    return network(
        """g (float[1,8,10,10] x) => (float[1,6,10,10] y) {
             [one] c = Conv<pads=[1,1,1,1]>(x, w1)  r = Relu(c)
             [two] d = Conv<pads=[1,1,1,1]>(r, w2, b2)  y = Neg(d) }""",
        w1=drawn((32, 8, 3, 3), 0, loudness, 1),
        w2=drawn((6, 32, 3, 3), 1, 1 / loudness, 2),
        b2=(6,),
    )


def transformer(loudness: float) -> ir.Model:
    """Outliers in a few channels of a layer norm, as large language models have them."""
    scale = np.ones(32, np.float32)
    scale[LOUD] = loudness
    return network(
        """g (float[1,12,32] x) => (float[1,12,24] q, float[1,12,24] k, float[1,12,24] v) {
             [norm] n = LayerNormalization(x, g, b)
             [wq] q0 = MatMul(n, w1)  [wk] k0 = MatMul(n, w2)  [wv] v0 = MatMul(n, w3)
             q = Neg(q0)  k = Neg(k0)  v = Neg(v0) }""",
        g=scale,
        b=(32,),
        w1=drawn((32, 24), 0, 1 / loudness, 1),
        w2=drawn((32, 24), 0, 1 / loudness, 2),
        w3=drawn((32, 24), 0, 1 / loudness, 3),
    )
