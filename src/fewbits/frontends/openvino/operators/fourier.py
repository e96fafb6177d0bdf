"""Fourier transforms as products with constant matrices, which every engine computes and quantizes like any other.

    X[k] = sum over t of x[t] (cos(2 pi k t / n) - i sin(2 pi k t / n)),    the inverse: + i, and 1/n

A signal longer than n is cut, a shorter one counts as followed by zeros: rows of the matrix, left out or zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]

# The matrices grow with the square of the length.
_LONGEST: Final = 4096


@dataclass(frozen=True)
class _Complex:
    real: ir.Value
    imaginary: ir.Value


def _angles(op: Operation, rows: int, columns: int, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosines and sines [rows, columns] of 2 pi (row * column mod n) / n."""
    op.refuse_unless(0 < n <= _LONGEST and max(rows, columns) <= _LONGEST, f"a transform longer than {_LONGEST}")
    turns = np.outer(np.arange(rows), np.arange(columns)) % n * (2 * np.pi / n)
    return np.cos(turns), np.sin(turns)


def _times(w: Writer, value: ir.Value, matrix: NDArray[Any], axis: int, rank: int) -> ir.Value:
    """The product along one axis: x [.., n, ..] → [.., m, ..]."""
    order = [*(i for i in range(rank) if i != axis), axis]
    moved = w.op("MatMul", w.transpose(value, order), w.constant(matrix, np.float32))
    return w.transpose(moved, [order.index(i) for i in range(rank)])


def _parts(w: Writer, value: ir.Value) -> _Complex:
    return _Complex(*(w.op("Gather", value, w.constant(part, np.int64), axis=-1) for part in (0, 1)))


def _joined(w: Writer, value: _Complex, rank: int) -> ir.Value:
    return w.op("Concat", w.unsqueeze(value.real, rank), w.unsqueeze(value.imaginary, rank), axis=-1)


def _along(op: Operation, w: Writer, x: _Complex, axis: int, n: int, *, inverse: bool, rank: int) -> _Complex:
    size = op.sizes()[axis]
    cosines, sines = _angles(op, size, n, n)
    cosines[n:], sines[n:] = 0, 0
    if inverse:
        cosines, sines = cosines / n, -sines / n
    (rc, rs), (ic, i_s) = (
        (_times(w, part, cosines, axis, rank), _times(w, part, sines, axis, rank)) for part in (x.real, x.imaginary)
    )
    return _Complex(w.op("Add", rc, i_s), w.op("Sub", ic, rs))


def _lengths(op: Operation, axes: list[int], default: list[int]) -> list[int]:
    given = op.integers(2) if op.has(2) else [-1] * len(axes)
    return [size if length == -1 else length for length, size in zip(given, default, strict=True)]


def _dft(*, inverse: bool) -> Emit:
    def emit(op: Operation, w: Writer) -> ir.Value:
        rank = op.rank() - 1
        axes = op.axes(1, rank)
        x = _parts(w, op.input(0))
        for axis, n in zip(axes, _lengths(op, axes, [op.sizes()[a] for a in axes]), strict=True):
            x = _along(op, w, x, axis, n, inverse=inverse, rank=rank)
        return _joined(w, x, rank)

    return emit


def _rdft(op: Operation, w: Writer) -> ir.Value:
    """Real numbers in; of the last axis only k = 0 … n/2, the rest mirrors it."""
    rank, axes = op.rank(), op.axes(1)
    lengths = _lengths(op, axes, [op.sizes()[axis] for axis in axes])
    last, n = axes[-1], lengths[-1]
    cosines, sines = _angles(op, op.sizes()[last], n // 2 + 1, n)
    cosines[n:], sines[n:] = 0, 0
    x = _Complex(_times(w, op.input(0), cosines, last, rank), _times(w, op.input(0), -sines, last, rank))
    for axis, length in zip(axes[:-1], lengths[:-1], strict=True):
        x = _along(op, w, x, axis, length, inverse=False, rank=rank)
    return _joined(w, x, rank)


def _irdft(op: Operation, w: Writer) -> ir.Value:
    """x[t] = 1/n sum over k <= n/2 of m (re cos - im sin), m = 1 for k = 0 and n/2, else 2 for the mirrored half."""
    rank = op.rank() - 1
    axes, sizes = op.axes(1, rank), op.sizes()
    lengths = _lengths(op, axes, [*(sizes[axis] for axis in axes[:-1]), 2 * (sizes[axes[-1]] - 1)])
    x = _parts(w, op.input(0))
    for axis, length in zip(axes[:-1], lengths[:-1], strict=True):
        x = _along(op, w, x, axis, length, inverse=True, rank=rank)
    last, n = axes[-1], lengths[-1]
    cosines, sines = _angles(op, sizes[last], n, n)
    k = np.arange(sizes[last])
    times = np.where(k > n // 2, 0, np.where((k == 0) | (2 * k == n), 1, 2)) / n
    weighted = (matrix * times[:, None] for matrix in (cosines, sines))
    real, imaginary = (
        _times(w, part, matrix, last, rank) for part, matrix in zip((x.real, x.imaginary), weighted, strict=True)
    )
    return w.op("Sub", real, imaginary)


TABLE: Final[dict[str, Emit]] = {
    "DFT": _dft(inverse=False),
    "IDFT": _dft(inverse=True),
    "IRDFT": _irdft,
    "RDFT": _rdft,
}
