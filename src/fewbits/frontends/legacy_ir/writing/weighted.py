"""ONNX operators with weights, and poolings, as layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewbits.frontends.legacy_ir.writing.draft import Task
from fewbits.frontends.legacy_ir.writing.moving import reshaped
from fewbits.frontends.legacy_ir.writing.window import window
from fewbits.graph import queries


def conv(task: Task) -> None:
    """Weights [O, I/g, kh, kw] as they are."""
    weights = task.constant(1)
    found = window(task, weights.shape[2:])
    dilations = task.ints("dilations", [1] * (weights.ndim - 2))
    task.layer(
        "Convolution",
        [task.value()],
        {**found, "dilations": dilations, "group": task.whole("group", 1), "output": weights.shape[0]},
        blobs={"weights": weights, "biases": task.constant(2) if task.has(2) else None},
    )


def conv_transpose(task: Task) -> None:
    """Weights [I, O/g, kh, kw] as they are; output padding is padding the layer leaves out at the end."""
    weights, group = task.constant(1), task.whole("group", 1)
    rank = weights.ndim - 2
    if "output_shape" in task.node.attributes:
        raise task.fail("an output_shape")
    found = window(task, weights.shape[2:])
    begins, strides = found["pads_begin"], found["strides"]
    dilations = task.ints("dilations", [1] * rank)
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, weights.shape[2:], strict=True)]
    parts = zip(task.dims()[2:], task.out[2:], strides, extents, begins, strict=True)
    ends = [s * (size - 1) + extent - begin - out for size, out, s, extent, begin in parts]
    if min(ends) < 0:
        raise task.fail("output padding beyond the padding")
    task.layer(
        "Deconvolution",
        [task.value()],
        {**found, "pads_end": ends, "dilations": dilations, "group": group, "output": weights.shape[1] * group},
        blobs={"weights": weights, "biases": task.constant(2) if task.has(2) else None},
    )


def gemm(task: Task) -> None:
    """Alpha and beta go into weights and biases."""
    if task.whole("transA", 0):
        raise task.fail("a transposed input")
    weights = task.constant(1) if task.whole("transB", 0) else task.constant(1).T
    bias = task.constant(2) if task.has(2) else None
    if bias is not None:
        if bias.size not in (1, len(weights)) or (bias.ndim and bias.size != bias.shape[-1]):
            raise task.fail(f"a bias of {list(bias.shape)}")
        bias = np.broadcast_to(bias.reshape(-1), (len(weights),))
        bias = _times(bias, task.real("beta", 1.0))
    _fully_connected(task, _times(weights, task.real("alpha", 1.0)), bias)


def matmul(task: Task) -> None:
    """Constant weights behind two axes make a FullyConnected; all else is a Gemm layer."""
    weights = queries.constant(task.value(1))
    if weights is not None and weights.ndim == 2 and len(task.dims()) == 2:
        return _fully_connected(task, weights.T, None)
    if len(task.dims()) < 2 or len(task.dims(task.value(1))) < 2:
        raise task.fail("a vector as operand")
    data = {"transpose_a": 0, "transpose_b": 0, "alpha": 1.0, "beta": 1.0}
    task.layer("Gemm", [task.value(), task.value(1)], data)
    return None


def _fully_connected(task: Task, weights: NDArray[np.float32], bias: NDArray[np.float32] | None) -> None:
    blobs = {"weights": np.ascontiguousarray(weights), "biases": bias}
    task.layer("FullyConnected", [task.value()], {"out-size": len(weights)}, blobs=blobs)


def _times(array: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    return array if factor == 1.0 else (array * np.float64(factor)).astype(np.float32)


def max_pool(task: Task) -> None:
    """Dilated windows and the places of maxima had no layer."""
    if len(task.node.outputs) > 1 or max(task.ints("dilations", [1])) > 1:
        raise task.fail("dilations, or the places of maxima")
    _pool(task, "max")


def average_pool(task: Task) -> None:
    """``count_include_pad`` is the contrary of ``exclude-pad``."""
    if max(task.ints("dilations", [1])) > 1:
        raise task.fail("dilations")
    _pool(task, "avg")


def _pool(task: Task, method: str) -> None:
    task.layer(
        "Pooling",
        [task.value()],
        {
            **window(task, tuple(task.ints("kernel_shape"))),
            "pool-method": method,
            "exclude-pad": not task.whole("count_include_pad", 0),
            "rounding_type": "ceil" if task.whole("ceil_mode", 0) else "floor",
        },
    )


def global_max_pool(task: Task) -> None:
    """A window as large as the image."""
    _whole(task, "max")


def global_average_pool(task: Task) -> None:
    """A window as large as the image."""
    _whole(task, "avg")


def reduce_mean(task: Task) -> None:
    """Over all of the image it is an average pooling; axes that vanish do so in a Reshape."""
    rank = len(task.dims())
    axes = task.constant(1).tolist() if task.has(1) else task.ints("axes", range(rank))
    if sorted(axis % rank for axis in axes) != list(range(2, rank)):
        raise task.fail(f"a mean over axes {axes} of {rank}")
    _whole(task, "avg", keep=bool(task.whole("keepdims", 1)))


def _whole(task: Task, method: str, *, keep: bool = True) -> None:
    spatial = task.dims()[2:]
    if len(spatial) not in (2, 3):
        raise task.fail(f"a window over {len(spatial)} axes")
    zeros, ones = [0] * len(spatial), [1] * len(spatial)
    pooled = task.dims()[:2] + (1,) * len(spatial)
    made = task.layer(
        "Pooling",
        [task.value()],
        {
            "kernel": spatial,
            "strides": ones,
            "pads_begin": zeros,
            "pads_end": zeros,
            "rounding_type": "floor",
            "pool-method": method,
            "exclude-pad": True,
        },
        inner=None if keep else ("pooled", pooled),
    )
    if not keep:
        reshaped(task, made)
