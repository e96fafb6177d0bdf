"""Questions one asks of a graph: constants, shapes, weight axes, multiply-accumulates, bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph.ops import KEEPS_SIGN, NEVER_NEGATIVE, WEIGHT_INPUT, Role, role
from fewbits.numerics.tensors import TensorSpec


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The value's array where it is an initializer or the output of a Constant node, else None."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is known before the model runs."""
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def dims(value: ir.Value) -> tuple[int | None, ...] | None:
    """The shape, None for a free size (some exporters write it as -1); None for an unknown rank."""
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)


def numel(value: ir.Value) -> int | None:
    """How many numbers the value holds for one sample (free sizes count as 1); None if the rank is unknown."""
    shape = dims(value)
    return None if shape is None else math.prod(1 if size is None else size for size in shape)


def is_float(value: ir.Value | None) -> bool:
    """Whether the value is an FP32 tensor (of unknown type it counts as one: inference may have stopped before it)."""
    if value is None or not isinstance(value.type, ir.TensorType | None):
        return False
    return value.dtype in (None, ir.DataType.FLOAT)


def specs(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
    """Describe a model's inputs or outputs."""
    return tuple(
        TensorSpec(
            value.name or "",
            dims(value) or (),
            np.dtype(np.float32) if value.dtype is None else value.dtype.numpy(),
        )
        for value in values
    )


def weight_axis(node: ir.Node) -> int:
    """The output-channel axis of a COMPUTE node's weights.

    Conv [O, I/g, kh, kw] → 0, ConvTranspose [I, O/g, kh, kw] → 1, Gemm [K, N] → 1 or with transB [N, K] → 0,
    MatMul [..., K, N] → last.
    """
    match node.op_type:
        case "ConvTranspose":
            return 1
        case "Gemm":
            trans = node.attributes.get("transB")
            return 0 if trans is not None and trans.as_int() else 1
        case "MatMul":
            shape = dims_or_raise(node.inputs[WEIGHT_INPUT])
            return len(shape) - 1
        case _:
            return 0


def dims_or_raise(value: ir.Value | None) -> tuple[int | None, ...]:
    """The shape of a value that must have one."""
    shape = None if value is None else dims(value)
    if shape is None:
        raise ValueError(f"value {value.name if value else '?'} has no shape")
    return shape


def group(node: ir.Node) -> int:
    """The number of groups of a convolution, 1 for everything else."""
    attribute = node.attributes.get("group")
    return 1 if attribute is None else attribute.as_int()


def macs(node: ir.Node) -> int:
    """Multiply-accumulates of one node for one sample; 0 where it has none or its shapes are unknown."""
    if role(node.op_type) is not Role.COMPUTE or len(node.inputs) < 2:
        return 0
    weights, output = node.inputs[WEIGHT_INPUT], node.outputs[0]
    shape, produced = None if weights is None else dims(weights), numel(output)
    if shape is None or produced is None or not all(shape):
        return 0
    sizes = [size for size in shape if size is not None]
    match node.op_type:
        case "Conv":  # each output number sums over I/g * kh * kw products
            return produced * math.prod(sizes[1:])
        case "ConvTranspose":  # each input number is spread over O/g * kh * kw outputs
            source = None if node.inputs[0] is None else numel(node.inputs[0])
            return (source or 0) * math.prod(sizes[1:])
        case "Gemm":
            return produced * sizes[1 - weight_axis(node)]
        case _:
            return produced * sizes[-2] if len(sizes) > 1 else produced * sizes[0]


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers as stored."""
    return sum(nbytes(v.const_value) for v in model.graph.initializers.values() if v.const_value is not None)


def nbytes(tensor: ir.TensorProtocol) -> int:
    """Bytes of a tensor as stored; of text, its characters."""
    if tensor.dtype == ir.DataType.STRING:
        return sum(len(text) for text in tensor.numpy().reshape(-1))
    return int(tensor.nbytes)


def users(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, each once, in graph order of their uses."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def never_negative(value: ir.Value) -> bool:
    """Whether an operator makes sure that the value is 0 or more; False where that is not certain."""
    while (node := value.producer()) is not None:
        if node.op_type in NEVER_NEGATIVE:
            return True
        if node.op_type == "Clip":
            low, high = (node.inputs[i] if len(node.inputs) > i else None for i in (1, 2))
            least, most = constant(low), constant(high)
            # Where the bounds cross, the result is the upper one.
            return least is not None and bool(least >= 0) and (high is None or (most is not None and bool(most >= 0)))
        if node.op_type not in KEEPS_SIGN or node.inputs[0] is None:
            return False
        value = node.inputs[0]
    return False


def only_moves(node: ir.Node) -> bool:
    """Whether a node that can be a CARRY makes no numbers of its own, but for zeros, which every 8-bit grid holds."""
    mode, places = (
        node.attributes[key].as_string() if key in node.attributes else ""
        for key in ("mode", "coordinate_transformation_mode")
    )
    if node.op_type == "Resize":
        return mode in ("", "nearest") and places != "tf_crop_and_resize"  # which fills in what lies outside
    if node.op_type != "Pad" or mode not in ("", "constant") or len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    filling = constant(node.inputs[2])
    return filling is not None and not filling.any()


def averages_padding(node: ir.Node) -> bool:
    """Whether a pool counts the zeros that it pads with among the numbers that it averages."""
    counted, auto, pads = (node.attributes.get(key) for key in ("count_include_pad", "auto_pad", "pads"))
    if node.op_type != "AveragePool" or counted is None or not counted.as_int():
        return False
    return (pads is not None and any(pads.as_ints())) or (auto is not None and auto.as_string().startswith("SAME"))


def node_name(node: ir.Node) -> str:
    """The name a person sees for a node; unnamed nodes are known by what they produce."""
    return node.name or (node.outputs[0].name if node.outputs else "") or node.op_type
