"""What an operator's function sees of its OpenVINO operation: attributes, shapes, and inputs known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.errors import ModelError
from fewbits.frontends.openvino.quantized import Known, Quantized
from fewbits.frontends.openvino.types import FLOATS, onnx_type

Dims = tuple[int | None, ...]
# One output of one operation: the id of its node in OpenVINO's model, and the port.
Key = tuple[str, int]


def label_of(node: Any) -> str:
    """For messages: type, version and name of a node."""
    return f"{node.get_type_name()} ({node.get_type_info().version_id}) {node.get_friendly_name()}"


def key_of(output: Any) -> Key:
    """What identifies an output while its model is read (unique node name, port)."""
    return output.get_node().get_name(), output.get_index()


def dims_of(port: Any) -> Dims | None:
    """The shape of a port, None for a free size; None for an unknown rank."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return None
    return tuple(size.get_length() if size.is_static else None for size in shape)


@dataclass(frozen=True)
class Operation:
    """One OpenVINO operation.

    Args:
        node: the ``openvino.Node``.
        name: the name its ONNX node will carry, unique in the graph.
        attributes: as OpenVINO names them.
        input: the ONNX value behind an input; one that is known beforehand becomes an initializer when first asked for.
        known: the numbers behind an input, or None where they are computed while the model runs.
    """

    node: Any
    name: str
    attributes: Mapping[str, Any]
    input: Callable[[int], ir.Value]
    known: Callable[[int], Known | None]

    def __len__(self) -> int:
        return int(self.node.get_input_size())

    @property
    def type(self) -> str:
        """Such as ``Convolution``."""
        return str(self.node.get_type_name())

    @property
    def label(self) -> str:
        """For messages: type, version and name."""
        return label_of(self.node)

    def has(self, index: int) -> bool:
        """Whether the operation has an input there."""
        return index < len(self)

    def dims(self, index: int) -> Dims | None:
        """The shape of an input, None for a free size; None for an unknown rank."""
        return dims_of(self.node.input(index))

    def rank(self, index: int = 0) -> int:
        """The number of axes of an input.

        Raises:
            ModelError: it is not known.
        """
        dims = self.dims(index)
        if dims is None:
            raise self.error(f"the rank of input {index} is not known", fix="export the model with known input sizes")
        return len(dims)

    def sizes(self, index: int = 0) -> tuple[int, ...]:
        """The shape of an input.

        Raises:
            ModelError: a size is free.
        """
        dims = self.dims(index) or (None,)
        if None in dims:
            raise self.error(f"input {index} is of free size", fix="export the model with fixed input sizes")
        return tuple(size for size in dims if size is not None)

    def result_dims(self, index: int = 0) -> Dims | None:
        """The shape of an output."""
        return dims_of(self.node.output(index))

    def element(self, index: int = 0) -> str:
        """The element type of an input, such as ``f32``."""
        return str(self.node.input(index).get_element_type().get_type_name())

    def result_type(self, index: int = 0) -> ir.DataType:
        """The ONNX type of an output."""
        return onnx_type(self.node.output(index).get_element_type().get_type_name(), self.label)

    def is_float(self, index: int = 0) -> bool:
        """Whether an input holds floating point numbers."""
        return self.element(index) in FLOATS

    def constant(self, index: int) -> NDArray[Any]:
        """The numbers of an input.

        Raises:
            ModelError: they are not known before the model runs.
        """
        known = self.known(index)
        if known is None:
            raise self.error(f"input {index} is computed while the model runs", fix="export it as a constant")
        return known.dequantized() if isinstance(known, Quantized) else known

    def integers(self, index: int) -> list[int]:
        """The numbers of a constant input of axes, sizes or pads."""
        return [int(number) for number in np.atleast_1d(self.constant(index)).ravel()]

    def axes(self, index: int, rank: int | None = None) -> list[int]:
        """The axes in a constant input, counted from the front."""
        rank = self.rank() if rank is None else rank
        return [axis + rank if axis < 0 else axis for axis in self.integers(index)]

    def used(self, output: int) -> bool:
        """Whether anything reads an output."""
        return output < self.node.get_output_size() and bool(self.node.output(output).get_target_inputs())

    def error(self, what: str, *, fix: str = "") -> ModelError:
        """The error to raise about this operation."""
        return ModelError(what, where=self.label, fix=fix or "export the model without it, or to ONNX directly")

    def refuse_unless(self, condition: bool, what: str, *, fix: str = "") -> None:
        """Raise ``ModelError`` where the condition does not hold."""
        if not condition:
            raise self.error(what, fix=fix)
