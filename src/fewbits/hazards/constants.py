"""Weights and other constants that FP16 cannot hold: too large, or so small that they vanish."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import inside, names, region, spreads
from fewbits.numerics import FP16, Loss, loss

# Where a factor is lost the product is: of these inputs a rounded number is multiplied.
_FACTORS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1), "Mul": (0, 1), "Div": (0, 1)}
# Bounds: an infinite one bounds nothing, which a number beyond FP16 did not either.
_BOUNDS = frozenset({"Clip", "Max", "Min", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"})
# An infinite number that is only added or selected is often a mask before a softmax, and meant to be.
_MASKS = frozenset({"Add", "Sub", "Where", "Pad", "Concat"})
_FLOAT = ir.DataType.FLOAT
# Half of the tensor's energy gone is a different tensor; a 256th is what BF16 rounds away from any tensor.
_GONE, _WORN = 0.5, 2.0**-8


def constants(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Every float constant, with the share of its numbers that overflow, vanish or become subnormal."""
    del seen
    for node in model.graph:
        filling = fill(node)
        if filling is not None and abs(filling) > FP16.max and math.isfinite(filling):
            yield _fill(node, filling)
        within = max(map(_largest, inside(node)), default=0.0)
        if within > FP16.max:
            yield _fill(node, within)
    for value in model.graph.initializers.values():
        array = queries.constant(value)
        if array is None or value.dtype != _FLOAT or not array.size:
            continue
        found = loss(array, FP16)
        readers = queries.users(value)
        if found.over:
            yield from _over(value, found, [n for n in readers if n.op_type not in _BOUNDS])
        elif found.error >= _WORN:
            yield from _lost(value, found, [n for n in readers if _multiplies(n, value)])


def _over(value: ir.Value, found: Loss, readers: list[ir.Node]) -> Iterator[Finding]:
    if not readers:
        return
    mask = all(node.op_type in _MASKS for node in readers)
    level: Level = "possible" if mask else "certain"
    yield Finding(
        "constants",
        node_name(readers[0]),
        readers[0].op_type,
        found.peak,
        f"{found.over:.2%} of {value.name} lies beyond 65504, up to {found.peak:.3g}: FP16 makes it infinite",
        "keep this node in FP32, or scale the constant down and its result up",
        level,
        value=value.name or "",
        keep=tuple(dict.fromkeys(name for reader in readers for name in _reached(reader, value))),
    )


def fill(node: ir.Node) -> float | None:
    """The number that a ConstantOfShape fills its result with; None for other nodes."""
    if node.op_type != "ConstantOfShape" or node.outputs[0].dtype != _FLOAT:
        return None
    attribute = node.attributes.get("value")
    return 0.0 if attribute is None else float(attribute.as_tensor().numpy().reshape(-1)[0])


def _largest(node: ir.Node) -> float:
    """The largest finite magnitude of the constants that a node of a subgraph reads or fills with."""
    filling = abs(fill(node) or 0.0)
    floats = [queries.constant(value) for value in node.inputs if value is not None and value.dtype == _FLOAT]
    read = [loss(array, FP16).peak for array in floats if array is not None and array.size]
    return max((number for number in (filling, *read) if math.isfinite(number)), default=0.0)


def _fill(node: ir.Node, filling: float) -> Finding:
    return Finding(
        "constants",
        node_name(node),
        node.op_type,
        filling,
        f"it fills {node.outputs[0].name} with {filling:.3g}: FP16 makes it infinite, and a row of nothing else NaN",
        "keep these nodes in FP32, or fill with -1e4",
        "possible",
        value=node.outputs[0].name or "",
        keep=region(node),
    )


def _reached(reader: ir.Node, value: ir.Value) -> tuple[str, ...]:
    """The reader, and where it hands the large number on, all that this runs through."""
    return region(reader) if spreads(reader, value) else names([reader])


def _lost(value: ir.Value, found: Loss, readers: list[ir.Node]) -> Iterator[Finding]:
    if not readers:
        return
    yield Finding(
        "constants",
        node_name(readers[0]),
        readers[0].op_type,
        found.peak,
        f"{found.lost:.0%} of {value.name} becomes 0 and {found.subnormal:.0%} subnormal in FP16 (its largest number "
        f"is {found.peak:.3g}): {found.error:.0%} of it is lost",
        "keep this node in FP32, or scale the constant up and its result down",
        "certain" if found.error >= _GONE else "possible",
        value=value.name or "",
        keep=names(readers),
    )


def _multiplies(node: ir.Node, value: ir.Value) -> bool:
    return any(index < len(node.inputs) and node.inputs[index] is value for index in _FACTORS.get(node.op_type, ()))
