"""Squares inside variances and norms: they overflow FP16 from 256, and differences of large means lose digits."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.ranges import HEADROOM
from fewbits.hazards.records import Extremes, Finding, Level, Seen
from fewbits.hazards.walk import MOVES, ahead, data_input, is_square, names, region
from fewbits.numerics import FP16

_REDUCES = frozenset({"ReduceMean", "ReduceSum", "GlobalAveragePool", "AveragePool"})
_ROOT = FP16.max**0.5
# Squares inside one operator: engines that compute it in FP32 inside are safe.
_INSIDE = frozenset(
    {"LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"}
    | {"MeanVarianceNormalization", "LpNormalization", "ReduceL2", "ReduceSumSquare"}
)


def squares(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Squares that are averaged or summed, and E[x²] - E[x]²."""
    for node in model.graph:
        source = data_input(node)
        if source is None:
            continue
        if is_square(node) and _reduced(node.outputs[0]):
            level = _level(seen.get(source.name or ""))
            if level is not None:
                yield _finding(node, source, seen, level, region(node))
        elif node.op_type in _INSIDE and source.name in seen:
            known = seen[source.name or ""]
            if known.high - known.low > _ROOT:
                yield _finding(node, source, seen, "possible", names([node]))
        if node.op_type == "Sub" and _difference_of_means(node):
            yield _cancellation(node)


def _finding(node: ir.Node, source: ir.Value, seen: Seen, level: Level, keep: tuple[str, ...]) -> Finding:
    known = seen.get(source.name or "")
    peak = _ROOT if known is None else known.peak
    reach = "depends on the input" if known is None else f"reaches {known.peak:.4g}, its square {known.peak**2:.3g}"
    return Finding(
        "variance",
        node_name(node),
        node.op_type,
        peak,
        f"the square inside a variance or norm overflows FP16 where x passes 256; x {reach}",
        "keep the variance in FP32, use BF16, or divide x by a constant before squaring",
        level,
        value=source.name or "",
        keep=keep,
    )


def _cancellation(node: ir.Node) -> Finding:
    return Finding(
        "variance",
        node_name(node),
        node.op_type,
        FP16.epsilon,
        "a variance as mean of squares minus square of the mean subtracts close numbers: with 11 bits (FP16) or 8 "
        "(BF16) little is left where the mean is large, and it may come out negative",
        "compute it as the mean of (x - mean)², or keep it in FP32",
        "possible",
        "possible",
        keep=tuple(dict.fromkeys((*names(_producers(node)), *region(node)))),
    )


def _level(known: Extremes | None) -> Level | None:
    if known is None:
        return "possible"
    if known.peak**2 > FP16.max:
        return "certain"
    return "possible" if known.peak**2 * HEADROOM > FP16.max else None


def _reduced(value: ir.Value) -> bool:
    return any(user.op_type in _REDUCES for user, _ in ahead(value, MOVES))


def _producers(node: ir.Node) -> list[ir.Node]:
    direct = [v.producer() for v in node.inputs if v is not None]
    behind = [v.producer() for n in direct if n is not None for v in n.inputs if v is not None]
    return [n for n in (*direct, *behind) if n is not None and not queries.is_constant(n.outputs[0])]


def _difference_of_means(node: ir.Node) -> bool:
    left, right = (None if v is None else v.producer() for v in node.inputs[:2])
    if left is None or right is None or left.op_type not in _REDUCES or not is_square(right):
        return False
    squared, mean = data_input(left), data_input(right)
    reduced = None if mean is None else mean.producer()
    square = None if squared is None else squared.producer()
    return reduced is not None and reduced.op_type in _REDUCES and is_square(square)
