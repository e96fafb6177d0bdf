"""Small numbers that keep a division or a logarithm from zero, and are zero themselves in FP16."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.ranges import VANISHES
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import MOVES, ahead, is_square, names, region, scalar, split_constant
from fewbits.numerics import FP16

_TO_DIVISOR = MOVES | {"Sqrt", "ReduceSum", "ReduceMean", "Mul"}
_MEANS = frozenset({"ReduceMean", "ReduceSum", "GlobalAveragePool", "ReduceL2", "ReduceSumSquare"})


def epsilon(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Constants below FP16's numbers that are added to, or bound, what is divided by; and attributes ``epsilon``."""
    for node in model.graph:
        attribute = node.attributes.get("epsilon")
        if attribute is not None:
            number = attribute.as_float()
            if 0 < number <= VANISHES:
                yield _finding(node, number, _level_of_attribute(node), names([node]))
            continue
        guarded = _guard(node)
        if guarded is None or not 0 < guarded[1] < FP16.smallest_normal or not _divides(node.outputs[0]):
            continue
        moving, number = guarded
        vanishes = number <= VANISHES
        level: Level = "possible" if vanishes else "information"
        known = seen.get(moving.name or "")
        if vanishes and known is not None:
            # What is added to decides: a zero there is divided by, a number FP16 holds is not.
            level = "certain" if known.low <= VANISHES else "possible" if known.low < 1e-3 else "information"
        keep = (*names(_before(moving)), *region(node)) if level != "information" else ()
        yield _finding(node, number, level, tuple(dict.fromkeys(keep)))


def _finding(node: ir.Node, number: float, level: Level, keep: tuple[str, ...]) -> Finding:
    what = "is 0 in FP16" if number <= VANISHES else "is subnormal in FP16: some devices make it 0"
    return Finding(
        "epsilon",
        node_name(node),
        node.op_type,
        number,
        f"the epsilon {number:.3g} {what}; what it keeps from zero is divided by",
        "keep the normalisation in FP32, or raise the epsilon to 1e-4",
        level,
        keep=keep if level != "information" else (),
    )


def _level_of_attribute(node: ir.Node) -> Level:
    """A batch norm's variances are known; those of other normalisations depend on the input."""
    variance = queries.constant(node.inputs[4]) if node.op_type == "BatchNormalization" else None
    if variance is None:
        return "possible"
    return "certain" if bool((abs(variance) <= VANISHES).any()) else "information"


def _guard(node: ir.Node) -> tuple[ir.Value, float] | None:
    """(what is guarded, the small number) of x + eps, max(x, eps) or clip(x, eps)."""
    if node.op_type in ("Add", "Max"):
        return split_constant(node)
    if node.op_type == "Clip" and len(node.inputs) > 1:
        low, source = scalar(node.inputs[1]), node.inputs[0]
        return (source, low) if low is not None and source is not None else None
    return None


def _divides(value: ir.Value) -> bool:
    """Whether the value ends as a divisor, under a logarithm or a negative power."""
    for user, source in ahead(value, frozenset(_TO_DIVISOR)):
        if user.op_type == "Div" and len(user.inputs) > 1 and user.inputs[1] is source:
            return True
        if user.op_type in ("Reciprocal", "Log"):
            return True
        if user.op_type == "Pow" and user.inputs[0] is source and (scalar(user.inputs[1]) or 0) < 0:
            return True
    return False


def _before(value: ir.Value) -> list[ir.Node]:
    """A variance comes from a mean of squares: small ones vanish there already."""
    node = value.producer()
    if node is None:
        return []
    found = [node]
    source = node.inputs[0].producer() if node.op_type in _MEANS and node.inputs[0] is not None else None
    if source is not None and is_square(source):
        found.append(source)
    return found
