"""Channels that stand out take the levels of all others; equalized they do not, and nobody else is tried."""

from __future__ import annotations

import math

import numpy as np
import pytest
from outliers import LOUD, convolutions, transformer
from tuning import distance_db, int8_db, watched, weights

from fewbits.quantization.corrections.equalize import equalize, promising
from fewbits.quantization.workshop import magnitudes
from models import NETWORKS, node, samples


@pytest.mark.parametrize("build", [convolutions, transformer], ids=lambda build: build.__name__)
def test_channels_a_hundred_times_louder(build) -> None:
    source = build(100.0)
    seen = samples(source, 10)
    loud = magnitudes(watched(source, seen))
    assert promising(source, loud)
    made = equalize(source, loud)
    assert distance_db(source, made, seen) == math.inf
    assert int8_db(source, seen) < 15
    assert int8_db(made, seen) > 30
    assert not promising(made, magnitudes(watched(made, seen))), "nothing is left to gain"


@pytest.mark.parametrize("build", [convolutions, transformer], ids=lambda build: build.__name__)
def test_the_gain_grows_with_the_outliers(build) -> None:
    gains = []
    for loudness in (1.0, 10.0, 30.0):
        source = build(loudness)
        seen = samples(source, 10)
        made = equalize(source, magnitudes(watched(source, seen)))
        gains.append(int8_db(made, seen) - int8_db(source, seen))
    assert abs(gains[0]) < 2
    assert gains[1] > 4
    assert gains[2] > gains[1] + 5


@pytest.mark.parametrize("name", NETWORKS)
def test_ordinary_networks_promise_nothing(name: str) -> None:
    source = NETWORKS[name]()
    assert not promising(source, magnitudes(watched(source, samples(source, 8))))


def test_the_layer_norm_takes_the_factors_into_its_scale_and_bias() -> None:
    source = transformer(64.0)
    made = equalize(source, magnitudes(watched(source, samples(source, 8))))
    factors = weights(source, "norm") / weights(made, "norm")
    assert (factors[LOUD] >= 16 * np.delete(factors, LOUD).max()).all()
    np.testing.assert_array_equal(weights(made, "norm", 2) * factors, weights(source, "norm", 2))
    for name in ("wq", "wk", "wv"):
        np.testing.assert_array_equal(weights(made, name), weights(source, name) * factors[:, None])
    assert node(made, "norm").op_type == "LayerNormalization"
