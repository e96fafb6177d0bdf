"""Normalisation and dropout: what they are at inference, said by attributes and outputs that are gone."""

from __future__ import annotations

from onnx import TensorProto, helper

from fewbits.frontends.opsets.scope import Node, Scope, drop, get, put, refuse, take


def said_inference(node: Node, _scope: Scope) -> list[Node]:
    """BatchNormalization and Dropout before version 7 are at inference only where ``is_test`` says so."""
    if not take(node, "is_test", 0):
        raise refuse(node, "is in training mode (is_test is 0)")
    return [node]


def per_feature(node: Node, scope: Scope) -> list[Node]:
    """BatchNormalization<spatial=0> has parameters for every number of a sample: it is written out."""
    _refuse_training(node)
    if take(node, "spatial", 1):
        return [node]
    x, gamma, beta, mean, variance = node.input
    epsilon = scope.const_like(get(node, "epsilon", 1e-5), variance, node)
    shifted = scope.node("Add", [variance, epsilon[-1].output[0]], node)
    deviation = scope.node("Sqrt", [shifted.output[0]], node)
    factor = scope.node("Div", [gamma, deviation.output[0]], node)
    centred = scope.node("Sub", [x, mean], node)
    scaled = scope.node("Mul", [centred.output[0], factor.output[0]], node)
    result = helper.make_node("Add", [scaled.output[0], beta], [node.output[0]], name=node.name)
    return [*epsilon, shifted, deviation, factor, centred, scaled, result]


def one_output(node: Node, _scope: Scope) -> list[Node]:
    """BatchNormalization before version 14 computes statistics where they are asked for."""
    _refuse_training(node)
    return [node]


def _refuse_training(node: Node) -> None:
    if any(node.output[1:]):
        raise refuse(node, "is in training mode: it has outputs for statistics")
    del node.output[1:]


def typed_mask(node: Node, scope: Scope) -> list[Node]:
    """Dropout before version 10 has a mask of the type of its data."""
    dtype = scope.dtype(node.input[0])
    if _asks_mask(node) and not dtype:
        raise refuse(node, "has a mask of unknown type")
    return _without_mask(node, scope, dtype)


def mask(node: Node, scope: Scope) -> list[Node]:
    """Dropout before version 12: engines fill a mask at inference with False, later ones with True."""
    take(node, "ratio")
    return _without_mask(node, scope, TensorProto.BOOL)


def _asks_mask(node: Node) -> bool:
    return len(node.output) > 1 and bool(node.output[1])


def _without_mask(node: Node, scope: Scope, dtype: int) -> list[Node]:
    if not _asks_mask(node):
        return [node]
    name = node.output[1]
    del node.output[1:]
    size = scope.node("Shape", [node.input[0]], node)
    filled = scope.node("ConstantOfShape", [size.output[0]], node, value=helper.make_tensor("", dtype, [1], [0]))
    filled.output[0] = name
    return [node, size, filled]


def selu(node: Node, _scope: Scope) -> list[Node]:
    """Selu before version 6 has other constants where it names none."""
    drop(node, "consumed_inputs")
    put(node, alpha=get(node, "alpha", 1.6732), gamma=get(node, "gamma", 1.0507))
    return [node]
