"""What the graph does with an input, as far as it tells: positions in a table, masks, amounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from fewbits.graph import queries

# Operators that hand positions on as they are.
_CARRY: Final = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Concat")
_CARRY_MORE: Final = ("Expand", "Tile")
_FLOATS: Final = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)
_COMPARED: Final = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
_BOUNDED: Final = (*_COMPARED, "Clip", "Max", "Min")


@dataclass(frozen=True)
class Use:
    """How an input is used.

    Attributes:
        below: it holds positions from 0 up to this one (not included), in every table it is used on.
        mask: only whether a number is 0 or 1 counts.
        counted: whole numbers that become floats and stand in no table: positions, times, amounts.
    """

    below: int | None = None
    mask: bool = False
    counted: bool = False


def vocabulary(model: ir.Model) -> dict[str, int]:
    """By input name: numbers from 0 up to this one (not included) are positions in every table the input is used on."""
    return {name: use.below for name, use in uses(model).items() if use.below is not None}


def uses(model: ir.Model) -> dict[str, Use]:
    """What each input is used for, by name."""
    return {value.name or "": _use(value) for value in model.graph.inputs}


def bounds(model: ir.Model) -> tuple[float, ...]:
    """Constants that numbers are clipped at or compared with, each once."""
    found: set[float] = set()
    for node in model.graph:
        if node.op_type in _BOUNDED:
            for value in node.inputs:
                array = queries.constant(value)
                if array is not None and array.size == 1 and array.dtype.kind == "f":
                    found.add(float(array.reshape(-1)[0]))
    return tuple(sorted(found))


def _use(value: ir.Value) -> Use:
    readers = list(_readers(value))
    tables = [size for node, index in readers if (size := _table(node, index)) is not None]
    mask = value.dtype == ir.DataType.BOOL or "mask" in (value.name or "").lower()
    mask = mask or any(_masks(node, index) for node, index in readers)
    counted = any(node.op_type == "Cast" and _target(node) in _FLOATS for node, _ in readers)
    whole = value.dtype is not None and value.dtype.is_integer()
    return Use(min(tables, default=None), mask and not tables, counted and whole and not tables and not mask)


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """The nodes that read the value, or the same numbers after operators that only carry them."""
    waiting, seen = [value], {value}
    while waiting:
        for node, index in ((use.node, use.idx) for use in waiting.pop().uses()):
            yield node, index
            carried = (node.op_type in _CARRY or node.op_type in _CARRY_MORE) and index == 0
            if (carried or node.op_type == "Concat") and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                waiting.append(node.outputs[0])


def _table(node: ir.Node, index: int) -> int | None:
    """The size of the axis that the numbers are positions on."""
    if node.op_type == "OneHot" and index == 0:
        depth = queries.constant(node.inputs[1])
        return None if depth is None else int(depth.reshape(-1)[0])
    if node.op_type not in ("Gather", "GatherElements", "ScatterElements", "GatherND", "ScatterND") or index != 1:
        return None
    shape = None if node.inputs[0] is None else queries.dims(node.inputs[0])
    if not shape:
        return None
    if node.op_type in ("GatherND", "ScatterND"):
        return min((size for size in shape if size is not None), default=None)
    axis = node.attributes.get("axis")
    return shape[0 if axis is None else axis.as_int()]


def _masks(node: ir.Node, index: int) -> bool:
    match node.op_type:
        case "Cast":
            return _target(node) == ir.DataType.BOOL
        case "Where" | "Not" | "And" | "Or" | "If":
            return index == 0
        case "Sub":  # 1 - mask, which is then multiplied by a large negative number
            return index == 1 and _is(node.inputs[0], (1.0,))
        case "Equal":
            return _is(node.inputs[1 - index], (0.0, 1.0))
    return False


def _is(value: ir.Value | None, numbers: tuple[float, ...]) -> bool:
    array = queries.constant(value)
    return array is not None and array.size == 1 and float(array.reshape(-1)[0]) in numbers


def _target(node: ir.Node) -> ir.DataType | None:
    to = node.attributes.get("to")
    return None if to is None else ir.DataType(to.as_int())
