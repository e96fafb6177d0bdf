"""A stack of one matrix becomes that matrix where the result keeps its shape."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.engines import ENGINES, Engine, Options
from fewbits.passes import simplify
from fewbits.passes.plain_matrices import plain_matrices
from models import check, feed, network, node, on_onnxruntime


@pytest.mark.parametrize(
    ("x", "w", "y", "plain"),
    [
        ("1,6,64", (1, 64, 33), "1,6,33", True),
        ("N,6,64", (1, 64, 33), "N,6,33", True),
        ("2,3,6,64", (1, 64, 33), "2,3,6,33", True),
        ("2,3,6,64", (1, 1, 64, 33), "2,3,6,33", True),
        ("6,64", (1, 64, 33), "1,6,33", False),
        ("3,6,64", (3, 64, 33), "3,6,33", False),
        ("6,64", (64, 33), "6,33", False),
    ],
)
def test_leading_ones_go_where_the_result_stays_the_same(x: str, w: tuple[int, ...], y: str, plain: bool) -> None:
    model = network(f"g (float[{x}] x) => (float[{y}] y) {{ [m] a = MatMul(x, w)  y = Neg(a) }}", w=w)
    before = on_onnxruntime(model, feed(model))["y"]
    changed = model.clone()
    assert plain_matrices(changed) is plain
    assert len(node(changed, "m").inputs[1].shape) == (2 if plain or len(w) == 2 else len(w))
    check(changed)
    after = on_onnxruntime(changed, feed(model))["y"]
    assert after.shape == before.shape
    np.testing.assert_array_equal(after, before)


def test_it_is_part_of_simplifying_and_leaves_the_given_model_alone() -> None:
    model = network("g (float[1,6,8] x) => (float[1,6,4] y) { [m] a = MatMul(x, w)  y = Neg(a) }", w=(1, 8, 4))
    simple = simplify(model)
    assert len(node(simple, "m").inputs[1].shape) == 2
    assert len(node(model, "m").inputs[1].shape) == 3


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
def test_engines_run_what_comes_out(engine: Engine) -> None:
    model = simplify(network("g (float[1,6,8] x) => (float[1,6,4] y) { a = MatMul(x, w)  y = Neg(a) }", w=(1, 8, 4)))
    session = engine.compile(model, Options(threads=1))
    assert session.run(feed(model))["y"].shape == (1, 6, 4)
