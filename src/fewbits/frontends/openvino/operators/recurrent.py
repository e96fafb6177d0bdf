"""Whole recurrent sequences. OpenVINO has the batch in front and other orders of gates than ONNX.

OpenVINO: X [batch, time, in], state [batch, directions, hidden], LSTM gates f i c o
ONNX:     X [time, batch, in], state [directions, batch, hidden], LSTM gates i o f c
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], Sequence[ir.Value]]
Array = NDArray[Any]

_ACTIVATIONS: Final = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "RNN": ("tanh",),
}
# Place in ONNX → place in OpenVINO.
_GATES: Final = {"LSTM": (1, 3, 0, 2), "GRU": (0, 1, 2), "RNN": (0,)}


def _ordered(array: Array, gates: Sequence[int], hidden: int) -> Array:
    """[directions, gates * hidden, …] with the gates in ONNX's order."""
    blocks = [array[:, gate * hidden : (gate + 1) * hidden] for gate in gates]
    return np.concatenate(blocks, axis=1)


def _bias(op: Operation, kind: str, bias: Array, hidden: int) -> Array:
    """ONNX has a bias of the input and one of the state; OpenVINO mostly their sum."""
    gates = _GATES[kind]
    split = kind == "GRU" and bool(op.attributes["linear_before_reset"])
    ours = _ordered(bias, gates, hidden)
    theirs = np.zeros_like(ours)
    if split:  # the fourth block is the state's bias of the last gate
        theirs[:, 2 * hidden :] = bias[:, 3 * hidden :]
    return np.concatenate([ours, theirs], axis=1)


def _sequence(kind: str) -> Emit:
    states = 2 if kind == "LSTM" else 1

    def emit(op: Operation, w: Writer) -> Sequence[ir.Value]:
        names = tuple(str(name).lower() for name in op.attributes.get("activations") or _ACTIVATIONS[kind])
        op.refuse_unless(names == _ACTIVATIONS[kind], f"activations {', '.join(names)}")
        op.refuse_unless(not op.attributes.get("input_forget", False), "coupled input and forget gates")
        hidden, direction = int(op.attributes["hidden_size"]), str(op.attributes["direction"]).lower()
        first = 2 + states  # behind X, the states and the lengths
        weights, recurrent, bias = (op.constant(first + index) for index in range(3))
        x = w.transpose(op.input(0), [1, 0, 2])
        lengths = w.cast(op.input(first - 1), ir.DataType.INT32)
        before = [w.transpose(op.input(1 + index), [1, 0, 2]) for index in range(states)]
        clip = float(op.attributes.get("clip") or 0)
        made = w.ops(
            kind,
            [
                x,
                w.constant(_ordered(weights, _GATES[kind], hidden), role="weights"),
                w.constant(_ordered(recurrent, _GATES[kind], hidden), role="recurrent"),
                w.constant(_bias(op, kind, bias, hidden), role="bias"),
                lengths,
                *before,
            ],
            1 + states,
            hidden_size=hidden,
            direction=direction,
            clip=clip or None,
            linear_before_reset=int(bool(op.attributes["linear_before_reset"])) if kind == "GRU" else None,
        )
        return [w.transpose(made[0], [2, 1, 0, 3]), *(w.transpose(state, [1, 0, 2]) for state in made[1:])]

    return emit


TABLE: Final[dict[str, Emit]] = {
    "GRUSequence": _sequence("GRU"),
    "LSTMSequence": _sequence("LSTM"),
    "RNNSequence": _sequence("RNN"),
}
