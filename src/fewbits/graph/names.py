"""Names stay unique while a graph is edited: what an edit adds gives way to what was there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir


@contextmanager
def unique_names(model: ir.Model) -> Iterator[None]:
    """Rename what the block adds where its name is taken: values among values, nodes among nodes.

    Values of subgraphs and of local functions count as taken: an outer value of the same name would hide them.
    Names of the graph's own inputs and outputs, and all that stood there before, stay as they are.
    """
    values, nodes = _everything(model)
    known_values, known_nodes = set(values), set(nodes)
    yield
    values, nodes = _everything(model)
    kept = {*model.graph.inputs, *model.graph.outputs}
    taken_values = {value.name for value in (*values, *kept) if value in known_values or value in kept}
    taken_nodes = {node.name for node in nodes if node in known_nodes}
    in_use: set[str | None] = {value.name for value in values}
    for value in values:
        if value not in known_values and value not in kept:
            value.name = _free(value.name or "value", taken_values, in_use)
            taken_values.add(value.name)
    in_use = {node.name for node in nodes}
    for node in nodes:
        if node not in known_nodes:
            node.name = _free(node.name or node.op_type, taken_nodes, in_use)
            taken_nodes.add(node.name)


def _everything(model: ir.Model) -> tuple[list[ir.Value], list[ir.Node]]:
    """All values, each once, and all nodes, subgraphs and functions included."""
    values: dict[ir.Value, None] = dict.fromkeys((*model.graph.inputs, *model.graph.initializers.values()))
    nodes: list[ir.Node] = []
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for part in parts:
        for node in ir.traversal.RecursiveGraphIterator(part):
            nodes.append(node)
            values.update(dict.fromkeys(value for value in node.inputs if value is not None))
            values.update(dict.fromkeys(node.outputs))
    return list(values), nodes


def _free(name: str, taken: set[str | None], in_use: set[str | None]) -> str:
    """The name itself where it is not taken, or with the first counter that makes a name nobody uses."""
    unique, counter = name, 0
    while unique in taken or (counter and unique in in_use):
        counter += 1
        unique = f"{name}_{counter}"
    return unique
