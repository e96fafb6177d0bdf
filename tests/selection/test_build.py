"""What a candidate's model file is said to hold."""

from __future__ import annotations

import pytest

from fewbits.quantization.plan import QuantPlan
from fewbits.selection.build import int8_formats
from models import network

# A linear layer and a product of two activations.
NET = network(
    "g (float[1,4,4] x) => (float[1,4,4] y) { [layer] a = MatMul(x, w)  [product] b = MatMul(a, x)  [end] y = Neg(b) }",
    w=(4, 4),
)


@pytest.mark.parametrize(
    ("integer", "precision", "formats"),
    [
        (("layer", "product"), "f32", "int8"),
        (("layer", "product"), "bf16", "int8+bf16"),
        (("layer",), "f32", "int8+fp32"),
        (("product",), "f32", "int8+fp32"),
        (("product",), "bf16", "int8+bf16"),
        (("end",), "f32", "fp32"),
        ((), "bf16", "bf16"),
    ],
)
def test_formats_are_those_of_the_multiply_accumulates(integer: tuple[str, ...], precision: str, formats: str) -> None:
    """A product of two activations has no weights, and counts all the same."""
    plan = QuantPlan(values={}, weights={}, integer=integer, skipped={}, int32_bias=False)
    assert int8_formats(NET, plan, precision) == formats
