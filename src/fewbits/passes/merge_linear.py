"""Two linear layers with nothing between become one where that costs no more work.

For z = W2 (W1 x + b1) + b2:

    W = W2 W1        b = W2 b1 + b2

Pairs: Gemm or MatMul with Gemm or MatMul; a convolution with the 1x1 convolution behind it; a 1x1 convolution with the
convolution behind it, if that one pads nothing or the first has no bias (the border of zeros must not see b1). A 1x1
convolution here has stride 1 and no padding. The node that stays is the second one, under its name.

It refuses where the first layer has a second reader or is a model output, where a layer has groups or moving weights,
and where the merged layer would need more multiplications or more weights: a narrow layer between two wide ones, as in
low-rank factors, is there to save both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.graph import queries
from fewbits.passes.fold_before import pads_nothing
from fewbits.passes.layer import Float, Layer, read, sole_reader

_GEOMETRY = ("kernel_shape", "pads", "strides", "dilations", "auto_pad")
_MATRICES = ("Gemm", "MatMul")


def merge_linear(model: ir.Model) -> bool:
    """Merge every pair; whether there was one."""
    changed = False
    for node in list(model.graph):
        second = read(node)
        while second is not None and _merge(model, second):
            changed = True
            second = read(node)
    return changed


def _merge(model: ir.Model, second: Layer) -> bool:
    first = _before(second)
    if first is None or sole_reader(first.output) is not second.node or first.weights.dtype != second.weights.dtype:
        return False
    merged = _product(first, second)
    if merged is None:
        return False
    weights, bias = merged
    size = first.weights.size + second.weights.size
    if weights.size > size or not (np.isfinite(weights).all() and (bias is None or np.isfinite(bias).all())):
        return False
    node, old = second.node, first.output
    if node.op_type == "Conv" and _pointwise(node):
        for name in _GEOMETRY:
            node.attributes.pop(name, None)
            if name in first.node.attributes:
                node.attributes.add(first.node.attributes[name])
    elif node.op_type == "Conv":
        node.attributes.pop("kernel_shape", None)
    node.replace_input_with(0, first.source)
    for dead in (old.producer(), first.node):
        if dead is not None and dead.graph is not None:
            model.graph.remove(dead, safe=True)
    second.write(model, weights, bias)
    return True


def _before(second: Layer) -> Layer | None:
    """The layer whose output the second one reads."""
    producer = second.source.producer()
    if producer is not None and producer.op_type == "Add":
        sources = [v for v in producer.inputs if v is not None and not queries.is_constant(v)]
        producer = sources[0].producer() if len(sources) == 1 else None
    first = None if producer is None else read(producer)
    return first if first is not None and first.output is second.source else None


def _product(first: Layer, second: Layer) -> tuple[NDArray[Any], Float | None] | None:
    """Weights as the second layer stores them, and bias; None where the pair stays two."""
    kinds = (first.node.op_type, second.node.op_type)
    if all(kind in _MATRICES for kind in kinds):
        if first.channels_read * second.channels > first.weights.size + second.weights.size:
            return None
        a, b = _matrix(first), _matrix(second)
        joint = _multiply(a, b) * (first.gain * second.gain)
        bias = _bias(first, second, lambda b1: (b1 @ b) * second.gain)
        # A Gemm reads [M, K] alone, a MatMul stacks of it.
        if second.node.op_type == "Gemm" and queries.weight_axis(second.node) == 0:
            joint = joint.T
        return joint.astype(second.weights.dtype), bias
    if kinds != ("Conv", "Conv") or queries.group(first.node) > 1 or queries.group(second.node) > 1:
        return None
    behind = _pointwise(second.node)
    if not behind and not (_pointwise(first.node) and (first.bias is None or pads_nothing(second.node))):
        return None
    # Work is asked for first: most pairs that meet here are bottlenecks, and products in FP64 take time.
    one, two = queries.macs(first.node), queries.macs(second.node)
    shape1, shape2 = first.weights.shape, second.weights.shape
    grown = one * shape2[0] // shape1[0] if behind else two * shape1[1] // shape1[0]
    if not one or not two or grown > one + two:
        return None
    w1, w2 = first.weights.astype(np.float64), second.weights.astype(np.float64)
    if behind:  # [O, M] after [M, I, ...]
        flat = w2.reshape(w2.shape[:2])
        joint = np.tensordot(flat, w1, axes=(1, 0))
    else:  # [O, M, ...] after [M, I]
        flat = w2.sum(axis=tuple(range(2, w2.ndim)))
        joint = np.moveaxis(np.tensordot(w2, w1.reshape(w1.shape[:2]), axes=(1, 0)), -1, 1)
    return np.ascontiguousarray(joint.astype(second.weights.dtype)), _bias(first, second, lambda b1: flat @ b1)


def _bias(first: Layer, second: Layer, through: Any) -> Float | None:
    parts: Sequence[Float] = [
        b for b in (second.bias, None if first.bias is None else through(first.bias)) if b is not None
    ]
    return sum(parts[1:], parts[0]) if parts else None


def _matrix(layer: Layer) -> Float:
    """Weights as f64[K, N]."""
    flipped = layer.node.op_type == "Gemm" and queries.weight_axis(layer.node) == 0
    return (layer.weights.T if flipped else layer.weights).astype(np.float64)


def _multiply(a: Float, b: Float) -> Float:
    product: Float = a @ b
    return product


def _pointwise(node: ir.Node) -> bool:
    weights = node.inputs[1]
    kernel = () if weights is None else queries.dims_or_raise(weights)[2:]
    strides = node.attributes.get("strides")
    return (
        all(size == 1 for size in kernel) and pads_nothing(node) and (strides is None or set(strides.as_ints()) <= {1})
    )
