"""Ways through a graph that several checks take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.queries import node_name

# What hands a number on as it is, or nearly: an unsafe magnitude behind one of these is still unsafe.
MOVES = frozenset(
    {"Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather", "Expand"}
    | {"Tile", "Concat", "Pad", "Cast"}
)
_SPREADS = MOVES | {
    *("Add", "Sub", "Mul", "Neg", "Abs", "Relu", "Max", "Min", "Clip", "Sum", "Sqrt", "Pow", "Where", "Mean"),
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "GlobalAveragePool", "AveragePool", "MaxPool"),
    *("Floor", "Ceil", "Round", "Mod", "CumSum", "CastLike", "LeakyRelu", "PRelu", "Dropout", "ReverseSequence"),
    *("Trilu", "ScatterND", "ScatterElements", "GatherND", "GatherElements", "DepthToSpace", "SpaceToDepth"),
    *("SequenceConstruct", "SequenceInsert", "SequenceAt", "SplitToSequence", "ConcatFromSequence"),
    *("Optional", "OptionalGetElement", "If", "Loop", "Scan"),
}
SQUASHED = {"Sigmoid": 1.0, "Tanh": 1.0, "Softmax": 1.0, "HardSigmoid": 1.0, "Softsign": 1.0, "Erf": 1.0}


def data_input(node: ir.Node) -> ir.Value | None:
    """The first input, which holds the numbers an operator works on."""
    return node.inputs[0] if node.inputs else None


def scalar(value: ir.Value | None) -> float | None:
    """The number of a constant that holds a single one."""
    array = queries.constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiu" else None


def split_constant(node: ir.Node) -> tuple[ir.Value, float] | None:
    """(moving operand, number) of a node that combines an activation with one constant number."""
    if len(node.inputs) != 2:
        return None
    for one, other in ((0, 1), (1, 0)):
        number, moving = scalar(node.inputs[one]), node.inputs[other]
        if number is not None and moving is not None and not queries.is_constant(moving):
            return moving, number
    return None


def names(found: Iterable[ir.Node]) -> tuple[str, ...]:
    """The nodes' names, each once."""
    return tuple(dict.fromkeys(node_name(node) for node in found))


def around(value: ir.Value) -> tuple[str, ...]:
    """Who makes and who reads a value: they stay FP32 where FP16 cannot hold it."""
    producer = value.producer()
    return names([*([producer] if producer is not None else []), *queries.users(value)])


def spreads(node: ir.Node, value: ir.Value) -> bool:
    """Whether the result of the node is about as large as this value, which it reads."""
    del value
    return node.op_type in _SPREADS


def region(node: ir.Node, goes_on: Callable[[ir.Node, ir.Value], bool] = spreads) -> tuple[str, ...]:
    """The node and all that its result runs through until an operator brings it back to a common size.

    A square runs through the mean, the epsilon and the root up to and with the division. A node of a subgraph stands
    for the one that holds it.

    Args:
        goes_on: whether the result of a node that reads this value is of that size still.
    """
    found, passed, waiting = {node: None}, set(node.outputs), list(node.outputs)
    while waiting:
        value = waiting.pop()
        for user in queries.users(value):
            outer = user if user.graph is node.graph else _holder(user, node)
            found[outer] = None
            more = [] if not goes_on(outer, value) else [output for output in outer.outputs if output not in passed]
            passed.update(more)
            waiting += more
    return names(found)


def _holder(inner: ir.Node, outside: ir.Node) -> ir.Node:
    """The node of the graph of ``outside`` whose subgraphs hold ``inner``."""
    for node in outside.graph or ():
        if isinstance(node, ir.Node) and any(inner.graph is graph for graph in _graphs(node)):
            return node
    return inner


def inside(node: ir.Node) -> Iterator[ir.Node]:
    """All nodes of the subgraphs of a node."""
    for graph in _graphs(node):
        yield from graph


def _graphs(node: ir.Node) -> Iterator[ir.Graph]:
    """All graphs inside a node."""
    for attribute in node.attributes.values():
        graphs: tuple[ir.Graph, ...] = ()
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = tuple(attribute.as_graphs())
        for graph in graphs:
            yield graph
            for below in graph:
                yield from _graphs(below)


def outer_product(node: ir.Node) -> bool:
    """Whether a matrix product sums nothing: each number is one product, as that of positions and frequencies."""
    if node.op_type != "MatMul" or None in node.inputs:
        return False
    left, right = (None if value is None else queries.dims(value) for value in node.inputs)
    return bool(left and left[-1] == 1) or bool(right and len(right) > 1 and right[-2] == 1)


def ahead(value: ir.Value, through: frozenset[str]) -> Iterator[tuple[ir.Node, ir.Value]]:
    """All (reader, what it reads) that the value reaches through operators of these types."""
    waiting, met = [value], {value}
    while waiting:
        source = waiting.pop()
        for user in queries.users(source):
            yield user, source
            if user.op_type in through:
                waiting += [output for output in user.outputs if output not in met]
                met.update(user.outputs)


def upper_bound(value: ir.Value | None) -> float:
    """A number the value cannot exceed by the way it is computed; infinity where nothing says so."""
    while value is not None:
        array = queries.constant(value)
        if array is not None:
            return float(np.max(array, initial=-np.inf))
        node = value.producer()
        if node is None:
            return np.inf
        if node.op_type in SQUASHED:
            return SQUASHED[node.op_type]
        if node.op_type == "LogSoftmax" or _from_maximum(node) or _negated(node):
            return 0.0
        if node.op_type in ("Clip", "Min"):
            at = 2 if node.op_type == "Clip" else 1
            bound = scalar(node.inputs[at]) if len(node.inputs) > at else None
            if bound is not None:
                return bound
        if node.op_type not in MOVES and node.op_type not in ("Clip", "Min", "ReduceMax"):
            return np.inf
        value = data_input(node)
    return np.inf


def _from_maximum(node: ir.Node) -> bool:
    """``x - max(x)`` is at most 0."""
    if node.op_type != "Sub":
        return False
    peak = node.inputs[1].producer() if node.inputs[1] is not None else None
    while peak is not None and peak.op_type in MOVES:
        source = data_input(peak)
        peak = source.producer() if source is not None else None
    return peak is not None and peak.op_type == "ReduceMax" and data_input(peak) is node.inputs[0]


def _negated(node: ir.Node) -> bool:
    if node.op_type == "Neg":
        source = data_input(node)
        return source is not None and _never_negative(source)
    parts = split_constant(node) if node.op_type == "Mul" else None
    return parts is not None and parts[1] <= 0 and _never_negative(parts[0])


def _never_negative(value: ir.Value) -> bool:
    return queries.never_negative(value) or is_square(value.producer())


def is_square(node: ir.Node | None) -> bool:
    """Whether the node computes x * x or x ** 2 of an activation."""
    if node is None or len(node.inputs) < 2 or queries.is_constant(node.inputs[0]):
        return False
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return node.op_type == "Pow" and scalar(node.inputs[1]) == 2.0


def summands(node: ir.Node) -> int | None:
    """How many numbers of its input one number of a sum or mean is made of; None where sizes are free."""
    source, result = data_input(node), node.outputs[0]
    before, after = None if source is None else queries.dims(source), queries.dims(result)
    if before is None or after is None or None in before[1:] or None in after[1:] or source is None:
        return None
    count, left = queries.numel(source), queries.numel(result)
    return count // left if count and left else None
