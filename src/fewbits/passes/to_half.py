"""Half-size models: weights stored in 16 bits, and graphs that compute in FP16.

Two forms, for two needs:

- ``store_half``: weights in FP16 or BF16, each followed by a Cast to FP32. Half the file; engines fold the
  casts when they load it and compute in whatever format they are asked to.
- ``compute_fp16``: the operators themselves are FP16, with FP32 inputs and outputs. For devices with FP16
  arithmetic. What has no FP16 form (by ONNX's own operator schemas) or a weight that FP16 cannot hold stays FP32, and
  so do subgraphs, functions and operators of other domains, with casts where they meet FP16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from fewbits.graph import queries
from fewbits.graph.edits import add_rounded
from fewbits.graph.queries import node_name
from fewbits.numerics import FP16
from fewbits.passes.half_types import half_variables, is_whole, places

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
# Below this many numbers the Cast node, with its three names, needs more bytes than the weights save.
_LEAST_NUMBERS = 128


def store_half(
    model: ir.Model, dtype: ir.DataType, *, keep: Collection[str] = (), exact: Collection[str] = ()
) -> ir.Model:
    """A copy whose FP32 weights are stored in 16 bits and cast back; the input model stays as it is.

    Weights that the format would turn into infinity stay FP32. Those of subgraphs are stored and cast outside them.

    Args:
        keep: names of nodes whose weights stay FP32.
        exact: names of constants that stay FP32 (``hazards.unsafe_constants`` finds them).
    """
    model = model.clone()
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in list(graph.initializers.values()):
            if value.name in exact or any(node_name(node) in keep for node in queries.users(value)):
                continue
            if _worth_storing(value) and not (dtype == _HALF and _overflows(value)):
                _store(model, graph, value, dtype)
    NameFixPass()(model)
    return model


def _worth_storing(value: ir.Value) -> bool:
    """Whether it is an FP32 weight of some size; an input's default is the caller's, and an output is what it is."""
    array = queries.constant(value)
    fixed = value.is_graph_input() or value.is_graph_output()
    return array is not None and is_whole(value) and bool(value.uses()) and array.size >= _LEAST_NUMBERS and not fixed


def _store(model: ir.Model, graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    stored = add_rounded(model, f"{value.name}.half", value, dtype)
    cast = ir.node("Cast", [stored], {"to": _FLOAT.value}, name=f"{value.name}.to_fp32")
    result = cast.outputs[0]
    result.shape, result.type, name = value.shape, value.type, value.name
    value.replace_all_uses_with(result)
    del graph.initializers[name or ""]
    result.name = name
    model.graph.insert_before(model.graph[0], cast)


def compute_fp16(model: ir.Model, *, keep: Collection[str] = (), guard: bool = True) -> ir.Model:
    """A copy that computes in FP16 between FP32 inputs and outputs; the input model stays as it is.

    Args:
        keep: names of nodes that stay FP32, with casts where they meet FP16 (``hazards.unsafe_nodes`` finds them).
        guard: keep nodes in FP32 whose constants lie beyond FP16's range; without it one sees what they do there.
    """
    model = model.clone()
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 17))
    border = _Border(model)
    for node in list(model.graph):
        stays = node_name(node) in keep or (guard and any(_overflows(v) for v in node.inputs if v is not None))
        stays = stays or _breaks_fusion(node)
        read, made = places(node, opset, () if stays else border.variables(node, opset))
        for owner, index, value in _reads(node):
            if owner is node and index in read:
                if value not in border.halves:
                    node.replace_input_with(index, border.half(value))
            elif value in border.halves:
                owner.replace_input_with(index, border.whole(value))
        for index in made:
            border.becomes_half(node.outputs[index])
        if node.op_type == "Cast" and made:
            node.attributes["to"] = ir.AttrInt64("to", _HALF.value)
    border.restore_outputs()
    for value in list(model.graph.initializers.values()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del model.graph.initializers[value.name or ""]
    NameFixPass()(model)
    return model


def _breaks_fusion(node: ir.Node) -> bool:
    """Whether ONNX Runtime (1.32) crashes while it fuses this Transpose, in FP16, with the matrix product behind it.

    It does where the first axis becomes the last but one, or the last, and the others keep their order: sequences that
    are turned batch first before a linear layer.
    """
    perm = node.attributes.get("perm")
    if node.op_type != "Transpose" or perm is None or len(axes := list(perm.as_ints())) < 3:
        return False
    last = len(axes) - 1
    if axes not in ([*range(1, last), 0, last], [*range(1, last + 1), 0]):
        return False
    return any(use.node.op_type == "MatMul" and use.idx == 0 for use in node.outputs[0].uses())


class _Border:
    """Where FP16 and FP32 meet: which values are FP16, and the one Cast of each that is needed in both formats.

    Attributes:
        halves: values that a node gives in FP16.
    """

    def __init__(self, model: ir.Model) -> None:
        self.halves: set[ir.Value] = set()
        self._model = model
        self._narrow: dict[ir.Value, ir.Value] = {}
        self._wide: dict[ir.Value, ir.Value] = {}

    def variables(self, node: ir.Node, opset: int) -> frozenset[str]:
        """The node's type variables that become FP16, with what was FP32 before this rewrite taken as FP32."""
        return half_variables(node, opset, lambda value: value in self.halves or is_whole(value))

    def becomes_half(self, value: ir.Value) -> None:
        """The node that gives the value computes it in FP16 from now on."""
        value.type = ir.TensorType(_HALF)
        self.halves.add(value)

    def half(self, value: ir.Value) -> ir.Value:
        """The FP32 value in FP16; constants are rounded now, not when the model runs."""
        if value in self._narrow:
            return self._narrow[value]
        if not queries.is_constant(value) or value.is_graph_input():
            return self._cast(value, _HALF, self._narrow)
        self._narrow[value] = add_rounded(self._model, f"{value.name}.fp16", value, _HALF)
        return self._narrow[value]

    def whole(self, value: ir.Value) -> ir.Value:
        """The FP16 value in FP32."""
        return self._wide.get(value) or self._cast(value, _FLOAT, self._wide)

    def restore_outputs(self) -> None:
        """Model outputs keep their names and FP32."""
        outputs = self._model.graph.outputs
        for index, output in enumerate(outputs):
            if output not in self.halves:
                continue
            name = output.name
            fresh = output not in self._wide
            whole = self.whole(output)
            if whole.name != name:
                output.name, whole.name = f"{name}.fp16", name
            if fresh:  # behind all that reads the FP16 value, as the model's last word
                cast = whole.producer()
                assert cast is not None
                self._model.graph.remove(cast)
                self._model.graph.append(cast)
            outputs[index] = whole

    def _cast(self, value: ir.Value, to: ir.DataType, known: dict[ir.Value, ir.Value]) -> ir.Value:
        graph, suffix = self._model.graph, "fp16" if to == _HALF else "fp32"
        cast = ir.node("Cast", [value], {"to": to.value}, name=f"{value.name}.to_{suffix}")
        result = cast.outputs[0]
        result.name, result.shape, result.type = f"{value.name}.{suffix}", value.shape, ir.TensorType(to)
        producer = value.producer()
        if producer is None:
            graph.insert_before(graph[0], cast)
        else:
            graph.insert_after(producer, cast)
        known[value] = result
        return result


def _reads(node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """(node, input, value) of all that the node reads, and that the nodes of its subgraphs read."""
    for index, value in enumerate(node.inputs):
        if value is not None:
            yield node, index, value
    for attribute in node.attributes.values():
        inner: tuple[ir.Graph, ...] = ()
        if attribute.type == ir.AttributeType.GRAPH:
            inner = (attribute.as_graph(),)
        elif attribute.type == ir.AttributeType.GRAPHS:
            inner = tuple(attribute.as_graphs())
        for graph in inner:
            for below in list(graph):
                yield from _reads(below)


def overflowing(model: ir.Model) -> bool:
    """Whether a constant holds finite numbers beyond FP16's range."""
    graphs = (model.graph, *model.graph.subgraphs())
    return any(_overflows(value) for graph in graphs for value in graph.initializers.values())


def _overflows(value: ir.Value) -> bool:
    array = queries.constant(value) if value.dtype == _FLOAT else None
    return array is not None and bool((np.abs(array[np.isfinite(array)]) > FP16.max).any())
