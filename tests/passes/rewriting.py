"""What every rewrite's tests ask: the same outputs before and after, or nothing touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from fewbits.graph.queries import group
from models import check, feed, on_onnxruntime, oracle

Rewrite = Callable[[ir.Model], bool]


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def applies(rewrite: Rewrite, model: ir.Model, tolerance: float = 1e-5) -> list[str]:
    """The operators that are left; both the oracle and ONNX Runtime compute what they did, under the same names."""
    inputs = feed(model)
    # The evaluator of onnx 1.23.2 fails on transposed convolutions with groups.
    grouped = any(node.op_type == "ConvTranspose" and group(node) > 1 for node in model.graph)
    runs = (on_onnxruntime,) if grouped else (oracle, on_onnxruntime)
    before = [run(model, inputs) for run in runs]
    assert rewrite(model)
    check(model)
    for run, expected in zip(runs, before, strict=True):
        got = run(model, inputs)
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            assert np.abs(array).max() > 0.01, "a test of zeros tests nothing"
            np.testing.assert_allclose(got[name], array, rtol=tolerance, atol=tolerance * np.abs(array).max())
    return kinds(model)


def refuses(rewrite: Rewrite, model: ir.Model) -> None:
    """Not a bit of the model changes."""
    before = ir.to_proto(model).SerializeToString()
    assert not rewrite(model)
    assert ir.to_proto(model).SerializeToString() == before
