"""A model whose quantizers can be switched one by one, without building and loading it anew.

Every activation of a plan passes a quantizer and a switch; weights and biases are inputs, fed quantized or as they
are. It computes in floating point what integer kernels would, up to the rounding of their 32-bit sums. One run costs
about three of the FP32 model's; a model built and loaded for each question would cost some fifty.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.engines import Arrays, Engine, Options, Session
from fewbits.graph import qdq, queries
from fewbits.graph.edits import replace_input
from fewbits.graph.names import unique_names
from fewbits.graph.ops import BIAS_INPUT, WEIGHT_INPUT
from fewbits.graph.queries import node_name
from fewbits.numerics import fake_quantize
from fewbits.quantization.linear import bias_of, weights_of
from fewbits.quantization.workshop import Tuned

_SWITCH, _WEIGHTS, _BIAS = "fewbits.switch", "fewbits.weights", "fewbits.bias"


@dataclass(frozen=True)
class _Fed:
    """An input that stands for a constant: what it is in float, and what it is in INT8."""

    whole: NDArray[np.float32]
    quantized: NDArray[np.float32]


class Simulated:
    """A session of the switchable model; close it when done."""

    def __init__(self, tuned: Tuned, engine: Engine, options: Options) -> None:
        """Build and compile.

        Raises:
            EngineError: the engine cannot compile it.
        """
        self._constants: dict[str, dict[str, _Fed]] = {}
        model = self._switchable(tuned)
        self._values = tuple(tuned.plan.values)
        self._session: Session = engine.compile(model, options)
        self.slots = self._session.slots

    def run(
        self, inputs: Mapping[str, NDArray[Any]], values: Container[str], layers: Container[str], slot: int = 0
    ) -> Arrays:
        """The outputs where these values are quantized, and these layers' weights with their corrected biases."""
        feeds: dict[str, NDArray[Any]] = dict(inputs)
        for name in self._values:
            feeds[f"{_SWITCH} {name}"] = np.array(name in values)
        for layer, constants in self._constants.items():
            for name, fed in constants.items():
                feeds[name] = fed.quantized if layer in layers else fed.whole
        return {name: array.copy() for name, array in self._session.run(feeds, slot).items()}

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def _switchable(self, tuned: Tuned) -> ir.Model:
        model = tuned.corrected.clone()
        with unique_names(model):
            self._add_switches(model, tuned)
        return model

    def _add_switches(self, model: ir.Model, tuned: Tuned) -> None:
        plan = tuned.plan
        found = {v.name: v for node in model.graph for v in node.outputs} | {v.name: v for v in model.graph.inputs}
        source = {node_name(node): node for node in tuned.source.graph}
        for node in [node for node in model.graph if node_name(node) in plan.weights]:
            name = node_name(node)
            corrected = fake_quantize(weights_of(node), plan.weights[name])
            fed = {f"{_WEIGHTS} {name}": (node, WEIGHT_INPUT, _Fed(weights_of(source[name]), corrected))}
            if (held := bias_of(node)) is not None and (bias := queries.constant(held[0].inputs[held[1]])) is not None:
                fed[f"{_BIAS} {name}"] = (*held, _Fed(_bias(source[name], bias), bias))
            for key, (holder, index, constant) in fed.items():
                replace_input(model, holder, index, _input(model, key, ir.DataType.FLOAT, constant.whole.shape))
            self._constants[name] = {key: constant for key, (_, _, constant) in fed.items()}
        integer = frozenset(plan.integer)
        for value_name, params in plan.values.items():
            value = found[value_name]
            readers = _rounded_readers(value, integer)
            switch = _input(model, f"{_SWITCH} {value_name}", ir.DataType.BOOL, ())
            rounded = qdq.append(model, value, params)
            chosen = ir.node("Where", [switch, rounded, value], name=f"{_SWITCH} of {value_name}")
            chosen.outputs[0].name, chosen.outputs[0].shape = f"{_SWITCH}ed {value_name}", value.shape
            chosen.outputs[0].type = value.type
            model.graph.insert_after(rounded.producer() or chosen, chosen)
            for node, index in readers:
                node.replace_input_with(index, chosen.outputs[0])


def _rounded_readers(value: ir.Value, integer: Container[str]) -> list[tuple[ir.Node, int]]:
    """Who reads the value in 8 bits. What was made in float is there in float for its float readers (``apply``)."""
    producer = value.producer()
    if producer is not None and node_name(producer) in integer:
        return list(value.uses())
    return [(node, index) for node, index in value.uses() if node_name(node) in integer]


def _bias(source: ir.Node, corrected: NDArray[np.float32]) -> NDArray[np.float32]:
    """The layer's bias before it was corrected; zeros where correcting gave it one."""
    holder, index = bias_of(source) or (source, BIAS_INPUT)
    bias = queries.constant(holder.inputs[index]) if len(holder.inputs) > index else None
    return np.zeros_like(corrected) if bias is None else bias


def _input(model: ir.Model, name: str, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
    model.graph.inputs.append(value)
    return value
