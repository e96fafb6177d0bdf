"""Large numbers that FP16 holds, added to scores before a softmax: what they are added to loses its digits.

x - 10000 is a multiple of 8 in FP16, whatever x: a row that is masked as a whole has the same weight everywhere, where
FP32 still tells its scores apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.constants import fill
from fewbits.hazards.records import Finding, Seen
from fewbits.hazards.walk import region
from fewbits.numerics import FP16

# From here on a sum is a multiple of 1.
_ABSORBS = 1 / FP16.epsilon
_SELECTS = frozenset({"Add", "Sub", "Mul", "Where", "Expand", "ConstantOfShape"})
_SOFTMAX = frozenset({"Softmax", "LogSoftmax", "ReduceLogSumExp", "Exp"})


def masks(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Constants from 1024 to 65504 that reach a softmax through a sum."""
    del seen
    nodes = {node_name(node): node for node in model.graph}
    for node in model.graph:
        number = _largest(node) if node.op_type in _SELECTS else 0.0
        if not _ABSORBS <= number <= FP16.max:
            continue
        keep = region(node)
        reached = {nodes[name].op_type for name in keep if name in nodes}
        if reached.isdisjoint(_SOFTMAX) or reached.isdisjoint({"Add", "Sub"}):
            continue
        yield Finding(
            "masks",
            node_name(node),
            node.op_type,
            number,
            f"{number:.3g} is added to scores: FP16 rounds the sum to multiples of {_step(number):g}, and a row that "
            "is masked as a whole comes out otherwise than in FP32",
            "keep these nodes in FP32, or select with Where instead of adding",
            "possible",
            keep=keep,
        )


def _largest(node: ir.Node) -> float:
    """The largest magnitude of the constants that the node reads or fills with."""
    filled = fill(node)
    if filled is not None:
        return abs(filled)
    arrays = [queries.constant(value) for value in node.inputs]
    floats = [array for array in arrays if array is not None and array.dtype == np.float32 and array.size]
    return max((float(np.abs(array[np.isfinite(array)]).max(initial=0)) for array in floats), default=0.0)


def _step(number: float) -> float:
    return FP16.epsilon * 2.0 ** math.floor(math.log2(number))
