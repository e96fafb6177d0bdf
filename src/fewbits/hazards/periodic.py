"""Sines of large numbers: FP16 has 11 bits for all of x, of which a sine only uses what is left of its period."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import data_input, names, outer_product, spreads
from fewbits.numerics import BF16, FP16, FloatFormat

_PERIODIC = frozenset({"Sin", "Cos", "Tan"})
# Of the step between neighbouring numbers: a 64th of a radian is 40 dB, a quarter of one is another angle.
_POSSIBLE, _CERTAIN = 2.0**-6, 2.0**-2


def periodic(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Sines and cosines by the largest argument on the data, else by the largest factor in it."""
    for node in model.graph:
        source = data_input(node)
        if node.op_type not in _PERIODIC or source is None:
            continue
        known = seen.get(source.name or "")
        computing = _computing(source)
        reach = known.peak if known is not None else _factor(computing)
        fp16, bf16 = (_level(reach, format, known is not None) for format in (FP16, BF16))
        if fp16 is None:
            continue
        yield Finding(
            "periodic",
            node_name(node),
            node.op_type,
            reach,
            f"x {'reaches' if known is not None else 'is multiplied by'} {reach:.3g}, where FP16 has steps of "
            f"{FP16.epsilon * 2.0 ** math.floor(math.log2(reach)):.2g} of a radian",
            "compute the angle in FP32",
            fp16,
            bf16,
            value=source.name or "",
            keep=(*names(computing), node_name(node)),
        )


def _level(reach: float, format: FloatFormat, seen: bool) -> Level | None:
    step = reach * format.epsilon
    if step < _POSSIBLE:
        return None
    return "certain" if seen and step >= _CERTAIN else "possible"


def _computing(value: ir.Value) -> list[ir.Node]:
    """The nodes that compute an angle of what the model reads or another layer gives."""
    found: dict[ir.Node, None] = {}
    waiting = [value]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or node in found or value.dtype != ir.DataType.FLOAT:
            continue
        if not spreads(node, value) and node.op_type != "Div" and not outer_product(node):
            continue
        found[node] = None
        waiting += [source for source in node.inputs if source is not None]
    return list(found)


def _factor(nodes: list[ir.Node]) -> float:
    """The largest constant that an angle is multiplied by."""
    factors = [
        float(np.abs(array).max(initial=0.0))
        for node in nodes
        if node.op_type in ("Mul", "MatMul")
        for array in map(queries.constant, node.inputs)
        if array is not None
    ]
    return max((factor for factor in factors if math.isfinite(factor)), default=0.0)
