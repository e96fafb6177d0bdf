"""Channels that can be scaled together without changing what the network computes, and who makes and reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT
from fewbits.graph.taps import channel_axis
from fewbits.quantization.linear import bias_of

# f(s x) = s f(x) for s > 0, each channel by itself.
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu", "Identity"})
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(eq=False)
class Bundle:
    """Channels that must be scaled alike.

    Args:
        size: how many channels.
        axis: where they lie in the values that carry them.
        makers: nodes whose output channels these are.
        readers: nodes that multiply them with weights, each with the place of the first one among its inputs.
        carriers: names of the values that hold them where statistics look for channels, each with the place of the
            first one.
        fixed: something makes or reads them that cannot be scaled.
    """

    size: int
    axis: int
    makers: list[ir.Node] = field(default_factory=list)
    readers: list[tuple[ir.Node, int]] = field(default_factory=list)
    carriers: list[tuple[str, int]] = field(default_factory=list)
    fixed: bool = False

    def absorb(self, other: Bundle) -> None:
        """Take over what another bundle, which must be scaled alike, consists of."""
        self.makers += other.makers
        self.readers += other.readers
        self.carriers += other.carriers
        self.fixed |= other.fixed


def bundles(model: ir.Model) -> list[Bundle]:
    """The bundles whose channels can be scaled, in graph order."""
    search = _Search()
    for node in model.graph:
        search.visit(node)
    for value in search.parts:
        if value.is_graph_output() or any(reader.graph is not model.graph for reader in queries.users(value)):
            search.fix(value)
    found = dict.fromkeys(search.root(bundle) for parts in search.parts.values() for bundle in parts)
    return [bundle for bundle in found if not bundle.fixed and bundle.makers and bundle.readers]


class _Search:
    """Which bundles the channels of each value are; bundles added together become one (union-find)."""

    def __init__(self) -> None:
        self.parts: dict[ir.Value, list[Bundle]] = {}
        self._parent: dict[Bundle, Bundle] = {}
        self._bias_adds: set[ir.Node] = set()

    def root(self, bundle: Bundle) -> Bundle:
        while bundle in self._parent:
            bundle = self._parent[bundle]
        return bundle

    def fix(self, value: ir.Value | None) -> None:
        for bundle in self._of(value):
            bundle.fixed = True

    def visit(self, node: ir.Node) -> None:
        if not node.outputs or not node.inputs or node.inputs[0] is None:
            return
        moving = [v for v in node.inputs if v is not None and not queries.is_constant(v)]
        source, output = node.inputs[0], node.outputs[0]
        if any(queries.dims(value) is None for value in (*moving, output)):  # nobody knows which axis has the channels
            for value in moving:
                self.fix(value)
        elif _reads_channels(node):
            self._read(node, source)
            self._make(node, output, _made_channels(node))
        elif node.op_type == "LayerNormalization" and _norm_channels(node):
            self.fix(source)
            self._make(node, output, _norm_channels(node))
        elif node in self._bias_adds or (len(moving) == 1 and self._moves(node, source)):
            self._carry(output, self._of(moving[0]))
        elif node.op_type == "Concat" and self._concatenates_channels(node):
            self._carry(output, [bundle for value in node.inputs for bundle in self._of(value)])
        elif node.op_type == "Add" and len(moving) == 2 and self._join(*moving):
            self._carry(output, self._of(source))
        else:
            for value in moving:
                self.fix(value)

    def _of(self, value: ir.Value | None) -> list[Bundle]:
        return [] if value is None else [self.root(bundle) for bundle in self.parts.get(value, [])]

    def _read(self, node: ir.Node, source: ir.Value) -> None:
        rank = len(queries.dims_or_raise(source))
        wanted = 1 if node.op_type == "Conv" else rank - 1
        first = 0
        for bundle in self._of(source):
            bundle.readers.append((node, first))
            bundle.fixed |= bundle.axis != wanted
            first += bundle.size

    def _make(self, node: ir.Node, output: ir.Value, size: int) -> None:
        shape = queries.dims(output)
        if not size or shape is None:
            return
        axis = 1 if node.op_type == "Conv" else len(shape) - 1
        if node.op_type == "MatMul" and (held := bias_of(node)) is not None:
            self._bias_adds.add(held[0])
        self._carry(output, [Bundle(size, axis, makers=[node])])

    def _carry(self, output: ir.Value, parts: list[Bundle]) -> None:
        if not parts:
            return
        self.parts[output] = parts
        first, seen = 0, channel_axis(output)
        for bundle in parts:
            if bundle.axis == seen:
                bundle.carriers.append((output.name or "", first))
            first += bundle.size

    def _moves(self, node: ir.Node, source: ir.Value) -> bool:
        """Whether the output's channels are the input's, scaled by the same factors."""
        if len([v for v in node.outputs if v.uses() or v.is_graph_output()]) > 1:
            return False
        if node.op_type in _HOMOGENEOUS:
            return True
        in_second_place = all(bundle.axis == 1 for bundle in self._of(source))
        return in_second_place and (node.op_type in _POOLS or _flattens(node))

    def _concatenates_channels(self, node: ir.Node) -> bool:
        parts = [self._of(value) for value in node.inputs]
        axes = {bundle.axis for part in parts for bundle in part}
        axis, rank = node.attributes["axis"].as_int(), len(queries.dims_or_raise(node.outputs[0]))
        return all(parts) and axes == {axis % rank}

    def _join(self, a: ir.Value, b: ir.Value) -> bool:
        """Add: both operands must be scaled alike, so their bundles become one, pair by pair."""
        left, right = self._of(a), self._of(b)
        if not left or [(p.size, p.axis) for p in left] != [(p.size, p.axis) for p in right]:
            return False
        if queries.dims(a) != queries.dims(b):
            return False
        for one, other in zip(left, right, strict=True):
            first, second = self.root(one), self.root(other)
            if first is not second:
                first.absorb(second)
                self._parent[second] = first
        return True


def _reads_channels(node: ir.Node) -> bool:
    """Conv, Gemm or MatMul with constant FP32 weights, one matrix for all."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    weights = node.inputs[WEIGHT_INPUT]
    if not queries.is_constant(weights) or not queries.is_float(weights) or queries.is_constant(node.inputs[0]):
        return False
    if node.op_type == "Gemm":
        return not any(key in node.attributes and node.attributes[key].as_int() for key in ("transA",))
    return node.op_type == "Conv" or len(queries.dims_or_raise(weights)) == 2


def _made_channels(node: ir.Node) -> int:
    """How many output channels can be scaled in the node's own constants; 0 where its bias is not one per channel."""
    size = queries.dims_or_raise(node.inputs[WEIGHT_INPUT])[queries.weight_axis(node)] or 0
    bias = node.inputs[BIAS_INPUT] if len(node.inputs) > BIAS_INPUT else None
    if bias is not None and (not queries.is_constant(bias) or queries.dims_or_raise(bias) != (size,)):
        return 0
    return size


def _norm_channels(node: ir.Node) -> int:
    """The channels of a layer norm over the last axis whose scale and bias are its own constants, else 0."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    rank = len(queries.dims_or_raise(node.inputs[0]))
    constants = [v for v in node.inputs[1:] if v is not None]
    if axis % rank != rank - 1 or not constants or not all(map(queries.is_constant, constants)):
        return 0
    return queries.dims_or_raise(constants[0])[-1] or 0


def _flattens(node: ir.Node) -> bool:
    """[N, C, 1, 1] -> [N, C]: the channels stay what they are."""
    if node.op_type not in ("Flatten", "Reshape", "Squeeze") or node.inputs[0] is None:
        return False
    before, after = queries.dims(node.inputs[0]), queries.dims(node.outputs[0])
    return (
        before is not None and after is not None and before[:2] == after[:2] and all(size == 1 for size in before[2:])
    )
