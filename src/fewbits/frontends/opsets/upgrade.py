"""Applies the table to every node of a model, those of If, Loop and Scan included."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from fewbits.frontends.opsets.inference import inferred_types, small
from fewbits.frontends.opsets.nodes import DEFAULT_DOMAIN, all_names, all_nodes, subgraphs, version
from fewbits.frontends.opsets.scope import Names, Node, Scope
from fewbits.frontends.opsets.table import TABLE


def upgrade(proto: onnx.ModelProto, least: int) -> None:
    """Bring a model without functions to ``least``, where it is of an older one.

    Raises:
        ModelError: a node has no equivalent there.
    """
    own = version(proto.opset_import)
    if own is None or own >= least:
        return
    touched = {op for number, adapters in TABLE.items() if own < number <= least for op in adapters}
    if any(node.op_type in touched and node.domain in DEFAULT_DOMAIN for node in all_nodes(proto.graph.node)):
        _Upgrade(own, least, Names(all_names(proto.graph))).graph(proto.graph, inferred_types(proto))
    for entry in proto.opset_import:
        if entry.domain in DEFAULT_DOMAIN:
            entry.version = least


class _Upgrade:
    """Applies the adapters of all versions after the model's own up to ``target``."""

    def __init__(self, own: int, target: int, names: Names) -> None:
        self._own, self._target, self._names = own, target, names

    def graph(self, graph: onnx.GraphProto, inferred: onnx.GraphProto, outer: Scope | None = None) -> None:
        values = (*inferred.value_info, *inferred.output, *inferred.input)
        types = {value.name: value.type for value in values}
        for tensor in graph.initializer:
            types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        constants = {tensor.name: tensor for tensor in graph.initializer if small(tensor)} | _constants(graph.node)
        scope = Scope(types, constants, self._names, outer)
        for node, twin in zip(graph.node, inferred.node, strict=True):
            for one, other in zip(subgraphs(node), subgraphs(twin), strict=True):
                self.graph(one, other, scope)
        made = [later for node in graph.node for later in self._adapted(node, scope)]
        del graph.node[:]
        graph.node.extend(made)

    def _adapted(self, node: Node, scope: Scope) -> list[Node]:
        if node.domain not in DEFAULT_DOMAIN:
            return [node]
        current = [node]
        for number in range(self._own + 1, self._target + 1):
            adapters = TABLE.get(number)
            if adapters is not None:
                current = [
                    later
                    for one in current
                    for later in (adapters[one.op_type](one, scope) if one.op_type in adapters else [one])
                ]
        return current


def _constants(nodes: Iterable[Node]) -> dict[str, onnx.TensorProto]:
    found = {}
    for node in nodes:
        if node.op_type != "Constant" or node.domain not in DEFAULT_DOMAIN:
            continue
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if attribute.name == "value" and small(value):
                found[node.output[0]] = value
            elif attribute.name in ("value_int", "value_ints"):
                found[node.output[0]] = numpy_helper.from_array(np.array(value, np.int64))
            elif attribute.name in ("value_float", "value_floats"):
                found[node.output[0]] = numpy_helper.from_array(np.array(value, np.float32))
    return found
