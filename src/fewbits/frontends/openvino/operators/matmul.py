"""Products of matrices, attention among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.quantized import Quantized
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _matmul(op: Operation, w: Writer) -> ir.Value:
    flipped = (bool(op.attributes["transpose_a"]), bool(op.attributes["transpose_b"]))
    return w.op("MatMul", *(_side(op, w, index, flip=flip) for index, flip in enumerate(flipped)))


def _side(op: Operation, w: Writer, index: int, *, flip: bool) -> ir.Value:
    """An operand, its last two axes swapped; weights are swapped here and now. A vector stays as it is."""
    if not flip or op.rank(index) < 2:
        return op.input(index)
    known = op.known(index)
    if known is None:
        rank = op.rank(index)
        return w.transpose(op.input(index), [*range(rank - 2), rank - 1, rank - 2])
    moved = known.moved(_swapped) if isinstance(known, Quantized) else _swapped(known)
    return w.constant(moved, role="weights")


def _swapped(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return array.swapaxes(-1, -2)


def _einsum(op: Operation, w: Writer) -> ir.Value:
    return w.op("Einsum", *(op.input(index) for index in range(len(op))), equation=str(op.attributes["equation"]))


def _attention(op: Operation, w: Writer) -> ir.Value:
    """softmax(scale Q K^T + mask) V; a causal one masks what lies after each position."""
    op.refuse_unless(len(op) <= 5, "attention with sinks has no counterpart in ONNX")
    rank, width = op.rank(), (op.dims(0) or ())[-1]
    causal = bool(op.attributes.get("causal", False))
    if op.has(4):
        scale = op.input(4)
    else:
        op.refuse_unless(width is not None, "the width of a head is not known", fix="fix it when exporting")
        scale = w.like(1 / math.sqrt(width or 1), op)
    keys = w.transpose(op.input(1), [*range(op.rank(1) - 2), op.rank(1) - 1, op.rank(1) - 2])
    scores = w.op("MatMul", w.op("Mul", op.input(0), scale), keys)
    if causal:
        rows, columns = op.sizes(0)[-2], op.sizes(1)[-2]
        visible = np.tril(np.ones((rows, columns), bool))
        scores = w.op("Where", w.constant(visible), scores, w.like(-math.inf, op))
    elif op.has(3) and not (op.known(3) is not None and op.constant(3).ndim == 0 and not op.constant(3).any()):
        if op.element(3) == "boolean":
            scores = w.op("Where", op.input(3), scores, w.like(-math.inf, op))
        else:
            scores = w.op("Add", scores, op.input(3))
    op.refuse_unless(rank >= 2, "attention needs matrices")
    return w.op("MatMul", w.op("Softmax", scores, axis=-1), op.input(2))


TABLE: Final[dict[str, Emit]] = {
    "Einsum": _einsum,
    "MatMul": _matmul,
    "ScaledDotProductAttention": _attention,
}
