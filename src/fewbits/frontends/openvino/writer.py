"""Writing ONNX nodes for one OpenVINO operation after the other: names, initializers, small compositions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from fewbits.frontends.openvino.names import Names
from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.quantized import Quantized
from fewbits.frontends.openvino.types import onnx_type

_END = np.iinfo(np.int64).max


class Writer:
    """Records nodes on a tape; what it makes while an operation is written is named after that operation."""

    def __init__(self, opset: int) -> None:
        self.tape = Tape()
        self.opset = opset
        self.values = Names()
        self.nodes = Names()
        self._scope = ""

    def begin(self, name: str) -> None:
        """Name what follows after the operation ``name``."""
        self._scope = name

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """One node with one output."""
        return self.ops(op_type, inputs, 1, **attributes)[0]

    def ops(
        self, op_type: str, inputs: Sequence[ir.Value | None], outputs: int, **attributes: Any
    ) -> Sequence[ir.Value]:
        """One node with several outputs."""
        name = self.nodes.unique(f"{self._scope}/{op_type}")
        values = [ir.Value(name=self.values.unique(f"{name}:{index}")) for index in range(outputs)]
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.tape.op_multi_out(op_type, inputs, kept, outputs=values, name=name)
        return values

    def constant(self, numbers: Any, dtype: Any = None, *, role: str = "constant", name: str = "") -> ir.Value:
        """An initializer; integers with a scale become a DequantizeLinear behind one.

        Args:
            numbers: an array, or what becomes one.
            dtype: its NumPy type, if not its own.
            role: what the operation takes it for; the name is made of the operation's and this.
            name: the name itself.
        """
        full = name or f"{self._scope}/{role}"
        if isinstance(numbers, Quantized):
            return self._quantized(numbers, full)
        # Its own copy: OpenVINO's memory, and the file mapped to it, go when the model is built.
        tensor = ir.tensor(np.array(np.asarray(numbers, dtype), order="C"))
        return self.tape.initializer(tensor, self.values.unique(full))

    def integers(self, *numbers: int) -> ir.Value:
        """An int64 vector, for axes, sizes and pads."""
        return self.constant(np.array(numbers, np.int64))

    def like(self, number: float, op: Operation, role: str = "constant") -> ir.Value:
        """A scalar of the type of the operation's first input."""
        return self.constant(np.array(number).astype(onnx_type(op.element(), op.label).numpy()), role=role)

    def _quantized(self, weights: Quantized, name: str) -> ir.Value:
        if not weights.is_linear():
            return self.constant(weights.dequantized(), name=name)
        axis = weights.axis()
        shape = () if axis == -1 else (weights.integers.shape[axis or 0],)
        scale, zero = (np.broadcast_to(array.ravel(), shape or (1,)) for array in (weights.scale, weights.zero_point))
        return self.op(
            "DequantizeLinear",
            self.constant(weights.integers, name=f"{name}_quantized"),
            self.constant(scale.reshape(shape), np.float32, name=f"{name}_scale"),
            self.constant(zero.reshape(shape), weights.integers.dtype, name=f"{name}_zero_point"),
            axis=None if axis == -1 else axis,
        )

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value as another type; itself where it is of that type already."""
        if value.dtype == dtype:
            return value
        if value.const_value is not None:
            return self.constant(value.const_value.numpy().astype(dtype.numpy()))
        result = self.op("Cast", value, to=int(dtype))
        result.dtype = dtype
        return result

    def int64(self, op: Operation, index: int) -> ir.Value:
        """An input as an int64 vector, as ONNX takes shapes, axes and pads."""
        if op.known(index) is not None:
            return self.integers(*op.integers(index))
        value = self.cast(op.input(index), ir.DataType.INT64)
        return value if op.rank(index) == 1 else self.op("Reshape", value, self.integers(-1))

    def reshape(self, value: ir.Value, *sizes: int) -> ir.Value:
        """A view of other sizes: 0 keeps a size, -1 takes what is left."""
        if value.const_value is not None:
            return self.constant(value.const_value.numpy().reshape(sizes))
        return self.op("Reshape", value, self.integers(*sizes))

    def transpose(self, value: ir.Value, order: Sequence[int]) -> ir.Value:
        """The axes in another order; the value itself where the order is the present one."""
        if list(order) == list(range(len(order))):
            return value
        return self.op("Transpose", value, perm=list(order))

    def squeeze(self, value: ir.Value, *axes: int) -> ir.Value:
        """Without these axes of size 1."""
        return self.op("Squeeze", value, self.integers(*axes)) if axes else value

    def unsqueeze(self, value: ir.Value, *axes: int) -> ir.Value:
        """With axes of size 1 at these places of the result."""
        return self.op("Unsqueeze", value, self.integers(*axes)) if axes else value

    def slice(self, value: ir.Value, axis: int, start: int = 0, stop: int = _END, step: int = 1) -> ir.Value:
        """A range along one axis."""
        return self.op("Slice", value, *(self.integers(number) for number in (start, stop, axis, step)))

    def reduce(self, op_type: str, value: ir.Value, axes: Sequence[int], *, keep: bool = True) -> ir.Value:
        """A reduction; the axes are an attribute until opset 18, of ReduceSum until 13."""
        if op_type == "ReduceSum" or self.opset >= 18:
            return self.op(op_type, value, self.integers(*axes), keepdims=int(keep))
        return self.op(op_type, value, axes=list(axes), keepdims=int(keep))
