"""The table of operators: what stays in floating point says so in a sentence of its own."""

from __future__ import annotations

from fewbits.graph.ops import FLOAT_REASONS, OPS, Role, float_reason, role


def test_only_operators_that_may_stay_in_float_have_a_reason_to() -> None:
    assert {OPS[name] for name in FLOAT_REASONS if name in OPS} <= {Role.JOIN}
    assert len(set(FLOAT_REASONS.values())) >= len(FLOAT_REASONS) - 1  # the two that normalise by a variance share one


def test_an_unknown_operator_is_named() -> None:
    assert role("Mystery") is Role.FLOAT
    assert float_reason("Mystery").startswith("Mystery ")
    assert "Mystery" not in float_reason("Softmax")
