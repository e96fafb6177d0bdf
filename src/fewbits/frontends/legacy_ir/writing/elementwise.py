"""ONNX operators that take each number by itself, and normalisations, as layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.legacy_ir.writing.draft import Source, Task
from fewbits.graph import queries

Write = Callable[[Task], None]
_FAR = float(np.finfo(np.float32).max)


def activation(kind: str) -> Write:
    """An Activation layer of that type."""
    return lambda task: _done(task.layer("Activation", [task.value()], {"type": kind}))


def _done(_: Source) -> None:
    return None


def relu(task: Task) -> None:
    """With slope 0."""
    task.layer("ReLU", [task.value()], {"negative_slope": 0.0})


def leaky_relu(task: Task) -> None:
    """With its slope."""
    task.layer("ReLU", [task.value()], {"negative_slope": task.real("alpha", 0.01)})


def prelu(task: Task) -> None:
    """Slopes that are constant, one for each channel or one for all."""
    slopes = task.constant(1)
    if slopes.size != 1 and _by_channel(slopes, task) is None:
        raise task.fail(f"slopes of {list(slopes.shape)}")
    task.layer(
        "PReLU", [task.value()], {"channel_shared": int(slopes.size == 1)}, blobs={"weights": slopes.reshape(-1)}
    )


def elu(task: Task) -> None:
    """With its alpha."""
    task.layer("ELU", [task.value()], {"alpha": task.real("alpha", 1.0)})


def clip(task: Task) -> None:
    """A bound that is missing is the end of FP32."""
    low, high = (float(task.constant(i).reshape(-1)[0]) if task.has(i) else far for i, far in ((1, -_FAR), (2, _FAR)))
    task.layer("Clamp", [task.value()], {"min": max(low, -_FAR), "max": min(high, _FAR)})


def hard_sigmoid(task: Task) -> None:
    """Compute min(max(alpha x + beta, 0), 1)."""
    sloped = _power(task, task.value(), task.real("alpha", 0.2), task.real("beta", 0.5), inner="slope")
    task.layer("Clamp", [sloped], {"min": 0.0, "max": 1.0})


def hard_swish(task: Task) -> None:
    """Compute x min(max(x / 6 + 1 / 2, 0), 1)."""
    sloped = _power(task, task.value(), 1 / 6, 0.5, inner="slope")
    gate = task.layer("Clamp", [sloped], {"min": 0.0, "max": 1.0}, inner=("gate", sloped.dims))
    task.layer("Eltwise", [task.value(), gate], {"operation": "mul"})


def identity(task: Task) -> None:
    """No layer: who reads the result reads the input."""
    task.draft.sources[task.node.outputs[0]] = task.source(task.value())


def negate(task: Task) -> None:
    """-x."""
    _power(task, task.value(), -1.0, 0.0)


def square_root(task: Task) -> None:
    """Take x to the power of a half."""
    _power(task, task.value(), 1.0, 0.0, 0.5)


def power(task: Task) -> None:
    """Take x to a constant power."""
    exponent = task.constant(1)
    if exponent.size != 1:
        raise task.fail("powers that differ from number to number")
    _power(task, task.value(), 1.0, 0.0, float(exponent.reshape(-1)[0]))


def _power(task: Task, feed: ir.Value, scale: float, shift: float, exponent: float = 1.0, *, inner: str = "") -> Source:
    """(scale x + shift) ** exponent."""
    data = {"scale": scale, "shift": shift, "power": exponent}
    return task.layer("Power", [feed], data, inner=(inner, task.dims(feed)) if inner else None)


def add(task: Task) -> None:
    """A constant is a shift; two activations, an Eltwise."""
    constant, moving = _constant_side(task)
    if constant is None:
        return _eltwise(task, "sum")
    return _affine(task, moving, None, constant, "sum")


def multiply(task: Task) -> None:
    """A constant is a scale; two activations, an Eltwise."""
    constant, moving = _constant_side(task)
    if constant is None:
        return _eltwise(task, "mul")
    return _affine(task, moving, constant, None, "mul")


def subtract(task: Task) -> None:
    """A constant that is taken away is a shift."""
    constant = queries.constant(task.value(1))
    if constant is None:
        return _eltwise(task, "sub")
    return _affine(task, task.value(0), None, -constant, "sub")


def eltwise(operation: str) -> Write:
    """An Eltwise layer; constants stand in Const layers."""
    return lambda task: _eltwise(task, operation)


def _constant_side(task: Task) -> tuple[NDArray[np.float32] | None, ir.Value]:
    for index in (1, 0):
        constant = queries.constant(task.value(index))
        if constant is not None:
            return constant, task.value(1 - index)
    return None, task.value(0)


def _affine(
    task: Task,
    moving: ir.Value,
    scale: NDArray[np.float32] | None,
    shift: NDArray[np.float32] | None,
    operation: str,
) -> None:
    """One number: Power. One for each channel: ScaleShift. Else an Eltwise with a Const."""
    numbers = scale if shift is None else shift
    assert numbers is not None
    if task.dims(moving) != task.out:
        return _eltwise(task, operation)
    if numbers.size == 1:
        one = float(numbers.reshape(-1)[0])
        _power(task, moving, *((one, 0.0) if shift is None else (1.0, one)))
        return None
    vector = _by_channel(numbers, task, moving)
    if vector is None:
        return _eltwise(task, operation)
    weights = np.ones_like(vector) if shift is not None else vector
    biases = np.zeros_like(vector) if shift is None else vector
    task.layer("ScaleShift", [moving], blobs={"weights": weights, "biases": biases})
    return None


def _by_channel(array: NDArray[np.float32], task: Task, value: ir.Value | None = None) -> NDArray[np.float32] | None:
    """f32[C] where the array differs along axis 1 of the value alone: [C, 1, 1] for [N, C, H, W]."""
    shape = task.dims(value)
    if len(shape) < 2 or array.ndim > len(shape):
        return None
    full = (1,) * (len(shape) - array.ndim) + array.shape
    return array.reshape(-1) if full[1] == array.size == shape[1] else None


def _eltwise(task: Task, operation: str) -> None:
    rank = len(task.out)
    feeds: list[Source | ir.Value] = []
    for value in task.node.inputs:
        assert value is not None
        constant = queries.constant(value)
        if constant is None:
            feeds.append(value)
        else:
            full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
            feeds.append(task.const(f"{task.name}/{value.name}", full))
    if len(feeds) < 2:
        return identity(task)
    task.layer("Eltwise", feeds, {"operation": operation})
    return None


def batch_normalization(task: Task) -> None:
    """Scale by s = gamma / sqrt(variance + epsilon) and shift by t = beta - s mean."""
    gamma, beta, mean, variance = (task.constant(i).astype(np.float64) for i in range(1, 5))
    scale = gamma / np.sqrt(variance + task.real("epsilon", 1e-5))
    blobs = {"weights": scale.astype(np.float32), "biases": (beta - scale * mean).astype(np.float32)}
    task.layer("ScaleShift", [task.value()], blobs=blobs)


def lrn(task: Task) -> None:
    """Compute x / (k + a S) ** b = k ** -b x / (1 + a / k S) ** b, for the layer's k is 1."""
    alpha, beta, k = task.real("alpha", 1e-4), task.real("beta", 0.75), task.real("bias", 1.0)
    data = {"local-size": task.whole("size", 1), "alpha": alpha / k, "beta": beta, "region": "across"}
    if k == 1.0:
        task.layer("Norm", [task.value()], data)
        return
    normed = task.layer("Norm", [task.value()], data, inner=("norm", task.dims()))
    task.layer("Power", [normed], {"scale": k**-beta, "shift": 0.0, "power": 1.0})


def softmax(task: Task) -> None:
    """Along an axis counted from 0."""
    task.layer("SoftMax", [task.value()], {"axis": task.whole("axis", -1) % len(task.dims())})
