"""Writing ONNX nodes while their shapes are known: ONNX's own inference runs on each node as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.shape_inference import InferenceError, infer_node_outputs
from onnx_ir.tape import Tape

from fewbits.frontends.onnx import MINIMUM_OPSET

OPSET = MINIMUM_OPSET
FREE_BATCH = "N"
_IR_VERSION = 8
# Inference looks into shapes, axes and scales, never into weights.
_MOST_READ = 64

Inputs = Sequence[ir.Value | None]
Attributes = Mapping[str, Any]


class Writer:
    """The nodes and initializers of one graph in the making."""

    def __init__(self) -> None:
        self.tape = Tape()
        self._names: set[str] = set()

    def op(self, op_type: str, inputs: Inputs, attributes: Attributes, name: str) -> ir.Value:
        """Write a node with one output."""
        return self.ops(op_type, inputs, attributes, name, 1)[0]

    def ops(self, op_type: str, inputs: Inputs, attributes: Attributes, name: str, count: int) -> Sequence[ir.Value]:
        """Write a node; its outputs come back with type and shape.

        Raises:
            ValueError: ONNX finds the inputs do not fit the operator.
        """
        types = _infer(op_type, inputs, attributes, count)
        outputs = self.tape.op_multi_out(op_type, inputs, attributes, num_outputs=count, name=self.unique(name))
        for value, made in zip(outputs, types, strict=True):
            value.type = ir.TensorType(ir.DataType(made.elem_type))
            value.shape = ir.Shape(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in made.shape.dim
            )
        return outputs

    def constant(self, array: NDArray[Any], name: str) -> ir.Value:
        """Register an initializer; the array is not copied."""
        return self.tape.initializer(ir.tensor(array, name=self.unique(name)))

    def unique(self, name: str) -> str:
        """The name, with a counter where it is taken."""
        made, count = name, 1
        while made in self._names:
            count += 1
            made = f"{name}_{count}"
        self._names.add(made)
        return made


def _infer(op_type: str, inputs: Inputs, attributes: Attributes, count: int) -> list[Any]:
    names = ["" if value is None else f"i{index}" for index, value in enumerate(inputs)]
    outputs = [f"o{index}" for index in range(count)]
    node = helper.make_node(op_type, names, outputs, **attributes)
    given = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    try:
        found = infer_node_outputs(
            onnx.defs.get_schema(op_type, OPSET, ""),
            node,
            {name: helper.make_tensor_type_proto(int(_dtype(value)), _sizes(value)) for name, value in given.items()},
            {name: _small(value) for name, value in given.items() if _is_small(value)},
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
    except InferenceError as error:
        raise ValueError((str(error).strip().splitlines() or [""])[-1]) from error
    return [found[name].tensor_type for name in outputs]


def _dtype(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype


def _sizes(value: ir.Value) -> list[int | str | None]:
    assert value.shape is not None
    return [size if isinstance(size, int) else size.value for size in value.shape]


def _is_small(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.size <= _MOST_READ


def _small(value: ir.Value) -> onnx.TensorProto:
    assert value.const_value is not None
    return onnx.numpy_helper.from_array(np.asarray(value.const_value.numpy()), value.name)
