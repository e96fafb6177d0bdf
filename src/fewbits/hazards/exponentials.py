"""Exponentials: FP16 holds exp(x) up to x = 11.09, alone, in sums of exponentials and in softplus."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph.queries import node_name, users
from fewbits.hazards.ranges import HEADROOM
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import data_input, names, region, scalar, upper_bound
from fewbits.numerics import FP16

_LARGEST = math.log(FP16.max)
_SUMS = frozenset({"ReduceSum", "ReduceMean", "Sum"})
# Operators that hold an exponential inside: whether it overflows depends on how the engine computes them.
_INSIDE = {
    "Softplus": "softplus log(1 + exp(x))",
    "Mish": "mish, with softplus inside,",
    "ReduceLogSumExp": "log of a sum of exponentials",
}


def exponentials(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Exponentials of numbers that may pass 11; ``x - max(x)`` and squashed or clipped numbers cannot."""
    for node in model.graph:
        inside = _INSIDE.get(node.op_type)
        if node.op_type != "Exp" and inside is None:
            continue
        source = data_input(node)
        bound = upper_bound(source)
        known = seen.get((source.name or "") if source is not None else "")
        high = min(bound, known.high if known is not None else math.inf)
        if high <= _LARGEST - (0 if known is None else math.log(HEADROOM)):
            continue
        level: Level = "certain" if known is not None and high > _LARGEST and inside is None else "possible"
        what = inside or _form(node)
        reach = "depends on the input" if math.isinf(high) else f"reaches {high:.3g}"
        yield Finding(
            "exponentials",
            node_name(node),
            node.op_type,
            high if math.isfinite(high) else _LARGEST,
            f"{what} overflows FP16 where x passes {_LARGEST:.4g}; x {reach}",
            "keep it in FP32, use BF16, or subtract the maximum first",
            level,
            _digits(node),
            keep=names([node]) if inside else region(node),
        )


def _form(node: ir.Node) -> str:
    """How a person knows the exponential: as softplus, as a sum of exponentials, or as it is."""
    readers = users(node.outputs[0])
    if any(map(_plus_one, readers)):
        return "softplus log(1 + exp(x))"
    return "a sum of exponentials exp(x)" if any(r.op_type in _SUMS for r in readers) else "exp(x)"


def _plus_one(node: ir.Node) -> bool:
    ones = node.op_type == "Add" and any(scalar(value) == 1.0 for value in node.inputs)
    return ones and any(reader.op_type == "Log" for reader in users(node.outputs[0]))


def _digits(node: ir.Node) -> Level | None:
    """In BF16, 1 + exp(x) is 1 from x = -6 down, and the logarithm of it 0."""
    return "information" if any(map(_plus_one, users(node.outputs[0]))) else None
