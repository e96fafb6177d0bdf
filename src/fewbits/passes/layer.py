"""Linear layers as one thing to rewrite: their weights in FP64 terms, their bias, and what is per channel at them.

A layer is a Conv, ConvTranspose or Gemm with constant weights, or a MatMul with constant weights and, where there is
one, the Add of a constant vector that exporters put behind it for its bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A linear layer as it stands in the graph.

    Attributes:
        weights: as stored: Conv [O, I/g, ...], ConvTranspose [I, O/g, ...], Gemm [K, N] or transposed, MatMul [K, N].
        gain: what the operator itself multiplies the weights by (a Gemm's alpha), 1 otherwise.
        bias: f64[O], a Gemm's beta included; None where the layer has none.
        add: the Add that holds a MatMul's bias.
        rank: of the layer's input and output; None where it is not known.
    """

    node: ir.Node
    weights: NDArray[Any]
    gain: float
    bias: Float | None
    add: ir.Node | None
    rank: int | None

    @property
    def source(self) -> ir.Value:
        """The activation the layer reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """What the layer gives, its bias added."""
        return (self.add or self.node).outputs[0]

    @property
    def axis(self) -> int:
        """The axis of the input and of the output that holds channels: 1 around convolutions, else the last."""
        return 1 if self.node.op_type in ("Conv", "ConvTranspose") else -1

    @property
    def channels(self) -> int:
        """How many channels it gives."""
        size = int(self.weights.shape[queries.weight_axis(self.node)])
        return size * queries.group(self.node) if self.node.op_type == "ConvTranspose" else size

    @property
    def channels_read(self) -> int:
        """How many channels it reads."""
        size = int(self.weights.shape[1 - queries.weight_axis(self.node)])
        return size * queries.group(self.node) if self.node.op_type == "Conv" else size

    def by_output(self, factor: Float) -> Float:
        """f64[O] shaped so that it multiplies the weights of each output channel."""
        return self._along(factor, queries.weight_axis(self.node), cut=self.node.op_type == "ConvTranspose")

    def by_input(self, factor: Float) -> Float:
        """f64[I] shaped so that it multiplies the weights of each input channel."""
        return self._along(factor, 1 - queries.weight_axis(self.node), cut=self.node.op_type == "Conv")

    def _along(self, factor: Float, axis: int, *, cut: bool) -> Float:
        rest = (1,) * (self.weights.ndim - 2)
        if not cut:
            return factor.reshape(*((-1, 1) if axis == 0 else (1, -1)), *rest)
        # Axis 1 counts within a group: each group's part of the factor stands at the rows of that group.
        groups = queries.group(self.node)
        rows = self.weights.shape[0] // groups
        return factor.reshape(groups, -1).repeat(rows, axis=0).reshape(self.weights.shape[0], -1, *rest)

    def write(self, model: ir.Model, weights: NDArray[Any] | None, bias: Float | None) -> None:
        """Give the layer other weights (None: as they are) and, where not None, another bias; names stay."""
        dtype, node = self.weights.dtype, self.node
        if weights is not None or self.gain != 1:
            made = scaled(self.weights, np.float64(self.gain)) if weights is None else weights.astype(dtype, copy=False)
            replace_input(model, node, WEIGHT_INPUT, add_initializer(model, f"{node.name}.folded_weight", made))
        if bias is None:
            bias = self.bias
        for name in ("alpha", "beta"):
            node.attributes.pop(name, None)
        if bias is None:
            return
        vector = add_initializer(model, f"{node.name}.folded_bias", bias.astype(dtype))
        if node.op_type != "MatMul":
            replace_input(model, node, BIAS_INPUT, vector)
        elif self.add is not None:
            replace_input(model, self.add, int(queries.is_constant(self.add.inputs[1])), vector)
        else:
            _append_add(model, node, vector)


def read(node: ir.Node) -> Layer | None:
    """The layer a node is; None where it is none, its weights or bias move, or are no numbers per channel."""
    if node.op_type not in LINEAR or node.domain not in ("", "ai.onnx") or node.inputs[0] is None:
        return None
    weights = queries.constant(node.inputs[WEIGHT_INPUT])
    if weights is None or weights.dtype not in (np.float32, np.float64) or queries.is_constant(node.inputs[0]):
        return None
    if node.op_type == "MatMul":
        shape = queries.dims(node.inputs[0])
        if weights.ndim != 2 or (shape is not None and len(shape) < 2):
            return None
        found = Layer(node, weights, 1.0, None, None, None if shape is None else len(shape))
        return _with_add(found)
    alpha, beta = (node.attributes[k].as_float() if k in node.attributes else 1.0 for k in ("alpha", "beta"))
    transposed = node.attributes.get("transA")
    if transposed is not None and transposed.as_int():
        return None
    layer = Layer(node, weights, alpha, None, None, weights.ndim)
    held = node.inputs[BIAS_INPUT] if len(node.inputs) > BIAS_INPUT else None
    if held is None:
        return layer
    array = queries.constant(held)
    # A Gemm's C [M, N] or [M, 1] has a number for every sample.
    bias = None if array is None else per_channel(array, 2 if node.op_type == "Gemm" else 1, -1, layer.channels)
    return None if bias is None else Layer(node, weights, alpha, bias * beta, None, weights.ndim)


def per_channel(array: NDArray[Any], rank: int | None, axis: int, channels: int) -> Float | None:
    """What a constant holds for each channel of a value of that rank, as f64[C].

    None where it differs along another axis, or would give the value more axes or channels than it has.
    """
    if array.ndim > (1 if rank is None else rank):
        return None
    full: NDArray[Any] = array.reshape((1,) * ((rank or 1) - array.ndim) + array.shape)
    along = full.shape[axis] if full.ndim else 1
    if full.size != along or along not in (1, channels):
        return None
    spread: Float = np.broadcast_to(full.reshape(-1).astype(np.float64), (channels,))
    return spread


def scaled(weights: NDArray[Any], factor: Float | np.float64) -> NDArray[Any]:
    """Weights times a factor in FP64, rounded once; NumPy works in small blocks, so no FP64 copy is ever held."""
    product: NDArray[Any] = np.empty_like(weights)
    np.multiply(weights, factor, out=product, casting="same_kind")
    return product


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The ONNX node that alone reads a value that is no output; None where it stands in a branch or loop of its own."""
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, maker = uses[0].node, value.producer()
    own = reader.graph is (value.graph if maker is None else maker.graph)
    return reader if own and reader.domain in ("", "ai.onnx") else None


def absorb(model: ir.Model, into: ir.Value, node: ir.Node) -> None:
    """Take out a node whose work ``into`` now includes; readers, profiles and plans know the value by the old name."""
    old, name = node.outputs[0], node.outputs[0].name
    into.shape, into.type = old.shape or into.shape, old.type or into.type
    ir.convenience.replace_all_uses_with(old, into, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
    into.name = name


def _with_add(layer: Layer) -> Layer:
    add = sole_reader(layer.node.outputs[0])
    if add is None or add.op_type != "Add":
        return layer
    other = next((v for v in add.inputs if v is not layer.node.outputs[0]), None)
    array = queries.constant(other)
    bias = None if array is None else per_channel(array, layer.rank, -1, layer.channels)
    return layer if bias is None else Layer(layer.node, layer.weights, 1.0, bias, add, layer.rank)


def _append_add(model: ir.Model, node: ir.Node, vector: ir.Value) -> None:
    product = node.outputs[0]
    name = product.name
    add = ir.node("Add", [product, vector], name=f"{node.name}.bias")
    total = add.outputs[0]
    total.shape, total.type = product.shape, product.type
    ir.convenience.replace_all_uses_with(product, total, replace_graph_outputs=True)
    add.replace_input_with(0, product)
    model.graph.insert_after(node, add)
    product.name, total.name = f"{name}.product", name


def fold_each(model: ir.Model, fold: Callable[[ir.Model, ir.Node], bool]) -> bool:
    """Apply ``fold`` to every linear layer for as long as it changes something; whether anything did."""
    changed = False
    for node in list(model.graph):
        if node.op_type in LINEAR:
            while fold(model, node):
                changed = True
    return changed
