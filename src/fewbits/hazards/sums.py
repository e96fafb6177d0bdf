"""Long accumulations: how many summands, and what they may add up to."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.ops import WEIGHT_INPUT, Role, role
from fewbits.graph.queries import node_name
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import data_input, names, summands, upper_bound
from fewbits.numerics import FP16

_SUMS = frozenset({"ReduceSum", "ReduceL1", "ReduceSumSquare", "CumSum"})
_MEANS = frozenset({"ReduceMean", "GlobalAveragePool", "AveragePool"})
# From here on an FP16 accumulator of ones stands still.
_STALLS = 2048


def sums(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Sums and means over many numbers; products of matrices with long rows as information."""
    for node in model.graph:
        if node.op_type in _SUMS or node.op_type in _MEANS:
            yield from _reduction(node, seen)
        elif role(node.op_type) is Role.COMPUTE:
            yield from _product(node, seen)


def _reduction(node: ir.Node, seen: Seen) -> Iterator[Finding]:
    source = data_input(node)
    count = _length(node)
    if source is None or count is None or count <= _STALLS:
        return
    known, total = seen.get(source.name or ""), seen.get(node.outputs[0].name or "")
    # Without data, numbers of magnitude 1 are assumed: what normalised activations and probabilities have.
    peak = known.peak if known is not None else min(1.0, abs(upper_bound(source)))
    bound = count * peak
    level: Level = "possible" if bound > FP16.max else "information"
    if known is not None and total is not None and known.low >= 0:
        # Summands of one sign: no partial sum is larger than the sum, of which the mean is a part.
        reached = total.peak * (count if node.op_type in _MEANS else 1)
        level = "information" if reached <= FP16.max else "certain" if node.op_type in _SUMS else "possible"
    yield Finding(
        "sums",
        node_name(node),
        node.op_type,
        float(count),
        f"it adds up {count} numbers of up to {peak:.3g}: {bound:.3g} at most, FP16 ends at 65504"
        + (", and its accumulator loses summands 2048 times smaller than the sum" if level == "information" else ""),
        "keep it in FP32, use BF16, or sum in two steps",
        level,
        value=source.name or "",
        keep=names([node]) if level != "information" else (),
    )


def _length(node: ir.Node) -> int | None:
    if node.op_type != "CumSum":
        return summands(node)
    shape, axis = queries.dims(node.outputs[0]), queries.constant(node.inputs[1])
    return None if shape is None or axis is None else shape[int(axis.reshape(()))]


def _product(node: ir.Node, seen: Seen) -> Iterator[Finding]:
    produced = queries.numel(node.outputs[0])
    count = queries.macs(node) // produced if produced else 0
    if count <= _STALLS:
        return
    source, weights = node.inputs[0], queries.constant(node.inputs[WEIGHT_INPUT])
    known = seen.get((source.name or "") if source is not None else "")
    size = "" if known is None or weights is None else f" of up to {known.peak * float(abs(weights).max()):.3g}"
    yield Finding(
        "sums",
        node_name(node),
        node.op_type,
        float(count),
        f"it adds up {count} products{size}: a device that accumulates in FP16 loses the last digits",
        "use a device or option that accumulates in FP32 (CPUs do), or keep it in FP32",
        "information",
    )
