"""RNN, LSTM and GRU, sequence first and batch first, in all directions."""

from __future__ import annotations

from typing import Any

from ..builder import Builder
from ..values import Value
from .moving import axes_op

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def recurrent(b: Builder) -> Any:
    kind = b.one_of("RNN", "LSTM", "LSTM", "GRU", "GRU")
    x = b.pick(lambda v: v.is_float and v.rank == 3 and v.dims[2] is not None and v.shape[2] <= 64 and v.shape[1] <= 16)
    batch_first = b.opset >= 14 and b.chance(0.15)
    # What comes is [batch, time, features] most of the time; the operator wants time first.
    if not batch_first and b.chance(0.8):
        x = b.op("Transpose", x, perm=[1, 0, 2])
    hidden, features = b.one_of(4, 5, 8), x.shape[2]
    direction = b.one_of(None, "forward", "reverse", "bidirectional")
    ways = 2 if direction == "bidirectional" else 1
    gates = GATES[kind]
    parts: list[Value | None] = [
        x,
        b.const(b.rng().normal(0, features**-0.5, (ways, gates * hidden, features)), hint="W"),
        b.const(b.rng().normal(0, hidden**-0.5, (ways, gates * hidden, hidden)), hint="R"),
        b.const(b.rng().uniform(-0.3, 0.3, (ways, 2 * gates * hidden)), hint="B") if b.chance(0.6) else None,
    ]
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction, "layout": 1 if batch_first else None}
    if kind == "GRU":
        attributes["linear_before_reset"] = b.one_of(None, 0, 1)
    if b.chance(0.1):
        attributes["clip"] = 0.8
    batch_axis = 0 if batch_first else 1
    if b.chance(0.2) and x.dims[batch_axis] is not None:
        state = (x.shape[0], ways, hidden) if batch_first else (ways, x.shape[1], hidden)
        parts += [None, b.const(b.rng().uniform(-0.5, 0.5, state), hint="h0")]
        if kind == "LSTM":
            parts.append(b.const(b.rng().uniform(-0.5, 0.5, state), hint="c0"))
    if kind == "LSTM" and b.chance(0.1):
        parts += [None] * (7 - len(parts))
        parts.append(b.const(b.rng().uniform(-0.3, 0.3, (ways, 3 * hidden)), hint="P"))
    count = b.one_of(1, 1, 2)
    found = b.ops(kind, *parts, outputs=count, **attributes)
    y = found[0]
    if batch_first:
        return found
    if ways == 1 and b.chance(0.8):
        y = axes_op(b, "Squeeze", y, [1])
    else:  # [time, ways, batch, hidden] → [time, batch, ways * hidden]
        y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), b.ints(0, 0, ways * hidden))
    if b.chance(0.7):
        y = b.op("Transpose", y, perm=[1, 0, 2])
    return (y, found[1]) if count == 2 and b.chance(0.5) else y


def two_layers(b: Builder) -> Value:
    """A stack of two, as nn.GRU(num_layers=2) exports it."""
    x = b.floats(3)
    b.need(x.dims[2] is not None and x.shape[2] <= 64)
    kind, hidden = b.one_of("LSTM", "GRU"), 6
    y = b.op("Transpose", x, perm=[1, 0, 2])
    for _ in range(2):
        features, gates = y.shape[2], GATES[kind]
        w = b.const(b.rng().normal(0, features**-0.5, (1, gates * hidden, features)), hint="W")
        r = b.const(b.rng().normal(0, hidden**-0.5, (1, gates * hidden, hidden)), hint="R")
        bias = b.const(b.rng().uniform(-0.3, 0.3, (1, 2 * gates * hidden)), hint="B")
        reset: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
        y = axes_op(b, "Squeeze", b.op(kind, y, w, r, bias, hidden_size=hidden, **reset), [1])
    found: Value = b.op("Transpose", y, perm=[1, 0, 2])
    return found


RECIPES = {"recurrent": recurrent, "recurrent again": recurrent, "two layers": two_layers}
