"""Pad and MaxPool become one where the pool's own padding means the same, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.engines import ENGINES, Options
from fewbits.passes import simplify
from models import Array, f32, i64, network

LOWEST = float(np.finfo(np.float32).min)
POOL = "MaxPool<kernel_shape=[3,3], strides=[2,2]>"


def both(text: str, **weights: Array | tuple[int, ...]) -> tuple[list[str], Array, Array]:
    model = network(text, **weights)
    simple = simplify(model)
    x = np.random.default_rng(1).standard_normal((1, 2, 7, 7)).astype(np.float32) - 1
    one, other = (ENGINES["onnxruntime"].compile(m, Options()).run({"x": x})["y"] for m in (model, simple))
    return [node.op_type for node in simple.graph], one, other


def padded(
    value: float, pads: Array, pool: str = POOL, before: str = "Neg(x)", channels: int = 2
) -> tuple[list[str], Array, Array]:
    shape = f"[1,{channels},M,N]"
    text = f"g (float[1,2,7,7] x) => (float{shape} y) {{ a = {before} q = Pad(a, p, v) y = {pool}(q) }}"
    return both(text, p=pads, v=f32(value).reshape(()))


@pytest.mark.parametrize("value", [-np.inf, LOWEST])
@pytest.mark.parametrize("pads", [(0, 0, 1, 1, 0, 0, 1, 1), (0, 0, 0, 0, 0, 0, 1, 2), (0, 0, 2, 0, 0, 0, 0, 2)])
def test_what_pads_with_the_lowest_number_goes_into_the_pool(value: float, pads: tuple[int, ...]) -> None:
    kinds, one, other = padded(value, i64(*pads))
    assert kinds == ["Neg", "MaxPool"]
    np.testing.assert_array_equal(one, other)


def test_zeros_go_in_behind_what_is_never_negative() -> None:
    kinds, one, other = padded(0.0, i64(0, 0, 1, 1, 0, 0, 1, 1), before="Relu(x)")
    assert kinds == ["Relu", "MaxPool"]
    np.testing.assert_array_equal(one, other)


def test_pads_of_both_add_up() -> None:
    pool = "MaxPool<kernel_shape=[3,3], pads=[1,0,0,1]>"
    kinds, one, other = padded(-np.inf, i64(0, 0, 0, 1, 0, 0, 2, 1), pool)
    assert kinds == ["Neg", "MaxPool"]
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("value", "pads", "pool", "before"),
    [
        (0.0, (0, 0, 1, 1, 0, 0, 1, 1), POOL, "Neg(x)"),
        (-1.0, (0, 0, 1, 1, 0, 0, 1, 1), POOL, "Relu(x)"),
        (-np.inf, (0, 0, 3, 3, 0, 0, 3, 3), POOL, "Neg(x)"),
        (-np.inf, (0, 0, -1, -1, 0, 0, 1, 1), POOL, "Neg(x)"),
        (-np.inf, (0, 1, 1, 1, 0, 0, 1, 1), POOL, "Neg(x)"),
        (-np.inf, (0, 0, 1, 1, 0, 0, 1, 1), "MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>", "Neg(x)"),
        (-np.inf, (0, 0, 1, 1, 0, 0, 1, 1), 'MaxPool<kernel_shape=[3,3], auto_pad="SAME_UPPER">', "Neg(x)"),
        (-np.inf, (0, 0, 1, 1, 0, 0, 1, 1), "MaxPool<kernel_shape=[2,2], dilations=[2,2]>", "Neg(x)"),
    ],
)
def test_what_means_something_else_stays(value: float, pads: tuple[int, ...], pool: str, before: str) -> None:
    channels = 3 if pads[1] else 2
    kinds, one, other = padded(value, i64(*pads), pool, before, channels)
    assert "Pad" in kinds
    np.testing.assert_array_equal(one, other)


def test_a_pad_with_another_reader_stays() -> None:
    rest = "a = MaxPool<kernel_shape=[3,3]>(q) z = ReduceMax<axes=[2,3]>(q) y = Add(a, z)"
    text = f"g (float[1,2,7,7] x) => (float[1,2,M,N] y) {{ q = Pad(x, p, v) {rest} }}"
    kinds, one, other = both(text, p=i64(0, 0, 1, 1, 0, 0, 1, 1), v=f32(-9.0).reshape(()))
    assert "Pad" in kinds
    np.testing.assert_array_equal(one, other)
