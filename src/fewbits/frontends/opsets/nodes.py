"""Walks over the nodes of a graph and of the graphs inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

DEFAULT_DOMAIN = ("", "ai.onnx")


def version(imports: Iterable[onnx.OperatorSetIdProto]) -> int | None:
    """The version of the default operator set; None where it is not imported."""
    return next((entry.version for entry in imports if entry.domain in DEFAULT_DOMAIN), None)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs among the attributes of a node."""
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            found.append(attribute.g)
        found += attribute.graphs
    return found


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """This graph and those inside it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """These nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def all_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name of a value or node, here and in the graphs inside."""
    for one in all_graphs(graph):
        yield from (value.name for value in one.input)
        yield from (tensor.name for tensor in one.initializer)
        for node in one.node:
            yield from (node.name, *node.input, *node.output)
