"""What is known before the model runs: constants, and what OpenVINO computes from constants and fixed shapes.

Weights kept in 8-bit integers stay integers. OpenVINO writes them as Constant → Convert → Subtract → Multiply, often
with layout changes behind; each of these steps maps a ``Quantized`` to a ``Quantized``:

    w = (q - zero_point) * scale
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.frontends.openvino.operation import Key, dims_of, key_of, label_of
from fewbits.frontends.openvino.quantized import Known, Quantized, fake_quantized
from fewbits.frontends.openvino.types import FLOATS, TYPES, array_of
from fewbits.libraries import openvino

Array = NDArray[Any]

# Random numbers differ each run; a quantizer of constants is read by ``fake_quantized`` alone.
_NOT_EVALUATED: Final = frozenset({"RandomUniform", "Multinomial", "FakeQuantize", "FakeConvert", "ReadValue"})
_EIGHT_BITS: Final = frozenset({"i8", "u8", "i4", "u4"})
# A file of a few bytes must not ask for memory without end: results may grow to this many times what they came from.
_MOST_GROWTH: Final = 4
_ALWAYS_ALLOWED: Final = 1 << 24


@dataclass(frozen=True)
class Constants:
    """The known outputs, filled in the order of the model.

    Args:
        known: output → its numbers.
        readers: output → how many inputs have not been read yet; at none, the numbers are let go.
    """

    known: dict[Key, Known]
    readers: dict[Key, int]

    def add(self, node: Any) -> bool:
        """Whether the outputs of this node are known; they are then remembered."""
        found = _evaluate(node, [self.known.get(key_of(value)) for value in node.input_values()])
        if found is None:
            return False
        for output, known in zip(node.outputs(), found, strict=True):
            self.known[key_of(output)] = known
            self.readers[key_of(output)] = len(output.get_target_inputs())
        return True

    def release(self, node: Any) -> None:
        """Let go of what nobody after this node reads."""
        for value in node.input_values():
            key = key_of(value)
            if key in self.known:
                self.readers[key] -= 1
                if self.readers[key] <= 0:
                    del self.known[key]


def _evaluate(node: Any, inputs: list[Known | None]) -> list[Known] | None:
    kind = node.get_type_name()
    if kind == "Constant":
        return [array_of(node, node.get_element_type().get_type_name(), node.get_friendly_name())]
    if kind == "ShapeOf":
        dims = dims_of(node.input(0))
        return None if dims is None or None in dims else [np.array(dims, _numpy(node.output(0)))]
    arrays = [known for known in inputs if known is not None]
    if not arrays or len(arrays) < len(inputs):
        return None
    found = _RULES[kind](node, arrays) if kind in _RULES else None
    if found is not None:
        return [found]
    return _computed(node, [a.dequantized() if isinstance(a, Quantized) else a for a in arrays])


def _numpy(port: Any) -> Any:
    return TYPES[port.get_element_type().get_type_name()].numpy()


def _computed(node: Any, inputs: list[Array]) -> list[Known] | None:
    """What OpenVINO itself computes, or None where it has no plain kernel or the result would be too large."""
    ports = [*node.outputs(), *node.inputs()]
    if node.get_type_name() in _NOT_EVALUATED or any(
        port.get_element_type().get_type_name() in ("bf16", "i4", "u4", "string") for port in ports
    ):
        return None
    allowed = max(_ALWAYS_ALLOWED, _MOST_GROWTH * sum(array.size for array in inputs))
    shapes = [dims_of(output) for output in node.outputs()]
    if None in shapes:
        return None
    if any(math.prod(size or 1 for size in dims or ()) > allowed for dims in shapes):
        raise ModelError(
            f"constants would grow to {shapes[0]}", where=label_of(node), fix="export the model with its sizes checked"
        )
    library = openvino()
    results = [
        library.Tensor(o.get_element_type(), [d or 0 for d in dims or ()])
        for o, dims in zip(node.outputs(), shapes, strict=True)
    ]
    try:
        done = node.evaluate(results, [library.Tensor(np.require(array, requirements=["C", "W"])) for array in inputs])
    except (RuntimeError, TypeError, ValueError):
        return None
    return [np.array(result.data) for result in results] if done else None


def _convert(node: Any, inputs: list[Known]) -> Known | None:
    source, target = (port.get_element_type().get_type_name() for port in (node.input(0), node.output(0)))
    if isinstance(inputs[0], Quantized):
        return inputs[0] if target in FLOATS else None
    if source in _EIGHT_BITS and target in FLOATS and inputs[0].ndim:
        return Quantized(
            inputs[0], np.ones((1,) * inputs[0].ndim, np.float32), np.zeros((1,) * inputs[0].ndim, np.int32)
        )
    if target not in TYPES or not (target in FLOATS and source in FLOATS):
        return None
    with np.errstate(over="ignore"):
        return inputs[0].astype(_numpy(node.output(0)))


def _by_constant(change: Callable[[Quantized, Array], Quantized | None]) -> Callable[[Any, list[Known]], Known | None]:
    def rule(node: Any, inputs: list[Known]) -> Known | None:
        weights, other = inputs
        if isinstance(other, Quantized) and node.get_type_name() == "Multiply":
            weights, other = other, weights
        if not isinstance(weights, Quantized):
            return None
        numbers = other.dequantized() if isinstance(other, Quantized) else np.asarray(other)
        if numbers.ndim > weights.integers.ndim:
            return None
        numbers = numbers.reshape((1,) * (weights.integers.ndim - numbers.ndim) + numbers.shape)
        if np.broadcast_shapes(numbers.shape, weights.integers.shape) != weights.integers.shape:
            return None
        return change(weights, numbers)

    return rule


def _shifted(weights: Quantized, zero: Array) -> Quantized | None:
    if (weights.scale != 1).any() or weights.zero_point.any() or (zero != np.rint(zero)).any():
        return None
    return replace(weights, zero_point=zero.astype(np.int32))


def _scaled(weights: Quantized, factor: Array) -> Quantized:
    return replace(weights, scale=weights.scale * factor.astype(np.float32))


def _layout(node: Any, inputs: list[Known]) -> Known | None:
    """Transpose, Reshape, Squeeze, Unsqueeze: the numbers stay, so integers may as well."""
    weights, arguments = inputs[0], inputs[1:]
    dims = dims_of(node.output(0))
    if not isinstance(weights, Quantized) or dims is None or any(isinstance(a, Quantized) for a in arguments):
        return None
    sizes = tuple(size for size in dims if size is not None)
    if len(sizes) < len(dims) or math.prod(sizes) != weights.integers.size:
        return None
    if node.get_type_name() == "Transpose":
        order = [int(axis) for axis in np.asarray(arguments[0]).ravel()] or list(range(len(dims)))[::-1]
        return weights.moved(lambda array: array.transpose(order))
    return weights.moved(lambda array: array.reshape(sizes))


def _fake_quantize(node: Any, inputs: list[Known]) -> Known | None:
    arrays = [known.dequantized() if isinstance(known, Quantized) else known for known in inputs]
    if arrays[0].size < 2 or arrays[0].dtype != np.float32:
        return None
    try:
        return fake_quantized(arrays[0], arrays[1:], int(node.get_attributes()["levels"]))
    except ValueError as error:
        raise ModelError(str(error), where=f"FakeQuantize {node.get_friendly_name()}") from error


_RULES: Final[dict[str, Callable[[Any, list[Known]], Known | None]]] = {
    "Convert": _convert,
    "Subtract": _by_constant(_shifted),
    "Multiply": _by_constant(_scaled),
    "Transpose": _layout,
    "Reshape": _layout,
    "Squeeze": _layout,
    "Unsqueeze": _layout,
    "FakeQuantize": _fake_quantize,
}
