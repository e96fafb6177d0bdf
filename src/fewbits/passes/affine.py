"""Nodes that scale and shift by constants, y = s x + t: Mul, Div, Add, Sub, Neg and batch norms at inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.passes.layer import Float, per_channel

_KINDS = ("Mul", "Div", "Add", "Sub", "Neg", "BatchNormalization")


def moving_input(node: ir.Node | None) -> ir.Value | None:
    """The one activation that an affine node reads; None for other nodes and for joins of two activations."""
    if node is None or node.op_type not in _KINDS or node.domain not in ("", "ai.onnx"):
        return None
    moving = [v for v in node.inputs if v is not None and not queries.is_constant(v)]
    value = moving[0] if len(moving) == 1 else None
    if value is None or value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return None
    return None if node.op_type == "BatchNormalization" and value is not node.inputs[0] else value


def scale_and_shift(node: ir.Node) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The s and t of a node for which ``moving_input`` holds, broadcastable as its constants are.

    None for divisions by the activation, by zero, and batch norms in training.
    """
    if node.op_type == "Neg":
        return np.float64(-1) * np.ones(()), np.zeros(())
    if node.op_type == "BatchNormalization":
        return _norm(node)
    first = queries.is_constant(node.inputs[0])
    array = queries.constant(node.inputs[0 if first else 1])
    if array is None:
        return None
    c = array.astype(np.float64)
    zero, one = np.zeros(c.shape), np.ones(c.shape)
    match node.op_type:
        case "Mul":
            return c, zero
        case "Add":
            return one, c
        case "Sub":
            return (-one, c) if first else (one, -c)
        case _:
            return None if first or not c.all() else (1 / c, zero)


def by_channel(node: ir.Node, rank: int | None, axis: int, channels: int) -> tuple[Float, Float] | None:
    """The s and t as f64[C], for a value of that rank with channels along ``axis``; None where it is not so simple."""
    if moving_input(node) is None or (found := scale_and_shift(node)) is None:
        return None
    if node.op_type == "BatchNormalization":
        # Its channels are those of axis 1, whatever the rank.
        fits = (axis == 1 or rank == 2) and found[0].size == channels
        return (found[0].reshape(-1), found[1].reshape(-1)) if fits else None
    s, t = (per_channel(array, rank, axis, channels) for array in found)
    return None if s is None or t is None else (s, t)


def engine_fused(node: ir.Node) -> bool:
    """Whether an affine node ends a GELU, a hard swish or a normalisation that is written out.

    All of them scale or shift a product or quotient of two activations. Engines put the pieces together into one
    kernel, and find them only while they are whole.
    """
    value: ir.Value | None = node.outputs[0]
    while value is not None and (producer := value.producer()) is not None:
        above = moving_input(producer)
        if above is None:
            return producer.op_type in ("Mul", "Div")
        value = above
    return False


def _norm(node: ir.Node) -> tuple[Float, Float] | None:
    parameters = [queries.constant(value) for value in node.inputs[1:5]]
    training = node.attributes.get("training_mode")
    if len(parameters) < 4 or any(p is None for p in parameters) or (training is not None and training.as_int()):
        return None
    # FP64 until the end: s and t are differences and quotients whose rounding would add to the network's.
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    s = gamma / np.sqrt(variance + epsilon)
    return s, beta - s * mean
