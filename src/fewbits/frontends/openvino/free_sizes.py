"""Names for free sizes: OpenVINO writes all of them ``?``; in ONNX equal names mean equal sizes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from fewbits.frontends.openvino.types import onnx_type
from fewbits.libraries import openvino

BATCH = "N"


class FreeSizes:
    """Marks the free sizes of a model's inputs and follows OpenVINO's shape inference with them.

    The first axis of an input is a batch by the habit of all these formats: [?, 3, ?, 224] → [N, 3, image_2, 224].
    """

    def __init__(self, model: Any) -> None:
        library = openvino()
        self._symbols: list[tuple[Any, str]] = []
        batch = library.Symbol()
        for port in model.inputs:
            shape = port.get_partial_shape()
            if shape.rank.is_dynamic or shape.is_static:
                continue
            sizes = list(shape)
            name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
            for axis, size in enumerate(sizes):
                if size.is_dynamic:
                    symbol = library.Symbol() if axis else batch
                    self._symbols.append((symbol, f"{name}_{axis}" if axis else BATCH))
                    size.set_symbol(symbol)
            port.get_node().set_partial_shape(library.PartialShape(sizes))
        if self._symbols:
            model.validate_nodes_and_infer_types()

    def shape(self, port: Any) -> ir.Shape | None:
        """The shape of a port; a free size that is no input's has no name. None for an unknown rank."""
        shape = port.get_partial_shape()
        if shape.rank.is_dynamic:
            return None
        return ir.Shape([size.get_length() if size.is_static else self._name(size) for size in shape])

    def describe(self, value: ir.Value, port: Any, where: str) -> None:
        """Give a value the type and shape of a port."""
        value.type = ir.TensorType(onnx_type(port.get_element_type().get_type_name(), where))
        value.shape = self.shape(port)

    def _name(self, size: Any) -> str | None:
        if not size.has_symbol():
            return None
        symbol = size.get_symbol()
        return next((name for known, name in self._symbols if known == symbol), None)
