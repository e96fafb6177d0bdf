"""OpenVINO model → ONNX model: one walk in topological order, one line of a table for each type of operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.frontends.onnx import MINIMUM_IR_VERSION, MINIMUM_OPSET
from fewbits.frontends.openvino.constants import Constants
from fewbits.frontends.openvino.free_sizes import FreeSizes
from fewbits.frontends.openvino.names import SourceNames, output_name, tensor_name
from fewbits.frontends.openvino.operation import Key, Operation, dims_of, key_of, label_of
from fewbits.frontends.openvino.operators import LATER_OPSET, REFUSED, TABLE
from fewbits.frontends.openvino.quantized import Known
from fewbits.frontends.openvino.writer import Writer


def build(source: Any, *, named: bool) -> ir.Model:
    """Write an ``openvino.Model`` op by op.

    Args:
        source: the model; its free sizes are marked in place.
        named: whether its nodes' names stand in the file.

    Raises:
        ModelError: an operation that ONNX cannot express, with its type, version and name.
    """
    kinds = {node.get_type_name() for node in source.get_ordered_ops()}
    opset = max((LATER_OPSET[kind] for kind in kinds & set(LATER_OPSET)), default=MINIMUM_OPSET)
    return _Builder(source, Writer(opset), SourceNames(written=named)).model()


class _Builder:
    def __init__(self, source: Any, writer: Writer, names: SourceNames) -> None:
        self.source = source
        self.writer = writer
        self.names = names
        self.sizes = FreeSizes(source)
        self.constants = Constants({}, {})
        self.values: dict[Key, ir.Value] = {}
        self.named: set[ir.Value] = set()

    def model(self) -> ir.Model:
        if not self.source.inputs or not self.source.outputs:
            raise ModelError("the model has no input or no output", fix="export it again")
        inputs = [self._input(port) for port in self.source.inputs]
        # Outputs keep their names; inner values that carry the same take another.
        names = [self.writer.values.unique(output_name(port)) for port in self.source.outputs]
        for node in self.source.get_ordered_ops():
            kind = node.get_type_name()
            if kind in REFUSED:
                raise _refused(node, REFUSED[kind])
            if kind not in ("Parameter", "Result") and not self.constants.add(node):
                self._write(node)
            if kind != "Result":
                self.constants.release(node)
        finished: set[ir.Value] = set(inputs)
        outputs = [self._output(port, name, finished) for port, name in zip(self.source.outputs, names, strict=True)]
        tape = self.writer.tape
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=tape.nodes,
            initializers=tape.initializers,
            opset_imports={"": self.writer.opset},
            name=self.source.get_friendly_name() or "model",
        )
        return ir.Model(graph, ir_version=MINIMUM_IR_VERSION)

    def _input(self, port: Any) -> ir.Value:
        name = self.writer.values.unique(tensor_name(port) or port.get_node().get_friendly_name())
        if dims_of(port) is None:
            raise ModelError(f"input {name} has no rank", fix="export the model with known input dimensions")
        value = ir.Value(name=name)
        self.sizes.describe(value, port, f"input {name}")
        self.named.add(value)
        self.values[key_of(port)] = value
        return value

    def _value(self, output: Any) -> ir.Value:
        key = key_of(output)
        if key not in self.values:
            name = tensor_name(output) or self.names.of_constant(output.get_node())
            value = self.writer.constant(self.constants.known[key], name=name)
            self.named.add(value)
            self.values[key] = value
        return self.values[key]

    def _known(self, output: Any) -> Known | None:
        return self.constants.known.get(key_of(output))

    def _write(self, node: Any) -> None:
        kind = node.get_type_name()
        if kind not in TABLE:
            raise _refused(node, "no ONNX operators are written for it here")
        name = self.writer.nodes.unique(self.names.of_node(node))

        def value(index: int) -> ir.Value:
            found = self._value(node.input_value(index))
            self.writer.begin(name)
            return found

        self.writer.begin(name)
        op = Operation(node, name, node.get_attributes(), value, lambda index: self._known(node.input_value(index)))
        made = TABLE[kind](op, self.writer)
        self._name(node, name, [made] if isinstance(made, ir.Value) else made)

    def _name(self, node: Any, name: str, values: Sequence[ir.Value]) -> None:
        for port, value in zip(node.outputs(), values, strict=False):
            self.values[key_of(port)] = value
            if value in self.named or value.const_value is not None:
                continue  # the operation only passes it on
            self.named.add(value)
            index = port.get_index()
            value.name = self.writer.values.unique(tensor_name(port) or (f"{name}.{index}" if index else name))
            self.sizes.describe(value, port, name)
            producer = value.producer()
            if producer is not None and index == 0:
                producer.name = name

    def _output(self, port: Any, name: str, finished: set[ir.Value]) -> ir.Value:
        """The value under the output's name; a node passes it on where it is an input, an output or a constant too."""
        value = self._value(port.get_node().input_value(0))
        if value in finished or value.const_value is not None:
            self.writer.begin(port.get_node().get_friendly_name())
            copy = self.writer.op("Identity", value)
            copy.type, copy.shape, value = value.type, value.shape, copy
        value.name = name
        finished.add(value)
        return value


def _refused(node: Any, reason: str) -> ModelError:
    return ModelError(f"cannot be converted: {reason}", where=label_of(node), fix="export the model to ONNX directly")
