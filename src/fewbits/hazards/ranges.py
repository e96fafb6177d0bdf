"""Activations that leave FP16's range on the samples that were seen."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits.graph.queries import node_name, users
from fewbits.hazards.records import Finding, Level, Seen
from fewbits.hazards.walk import around
from fewbits.numerics import FP16

# A quarter of the range is left for samples that were not seen.
HEADROOM = 4.0
# Rounded to even, a magnitude up to half of the smallest number is 0.
VANISHES = FP16.smallest_subnormal / 2


def ranges(model: ir.Model, seen: Seen) -> Iterator[Finding]:
    """Every activation with known extremes: beyond 65504, close to it, or too small to have digits."""
    for value in [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]:
        extremes = seen.get(value.name or "")
        if extremes is None or value.dtype not in (None, ir.DataType.FLOAT):
            continue
        said = _judge(extremes.peak)
        readers = users(value)
        node = value.producer() or (readers[0] if readers else None)
        if said is None or node is None:
            continue
        level, reason, fix = said
        yield Finding(
            "ranges",
            node_name(node),
            node.op_type,
            extremes.peak,
            f"{value.name} reaches {extremes.peak:.4g} on the data: {reason}",
            fix,
            level,
            value=value.name or "",
            keep=around(value),
        )


def _judge(peak: float) -> tuple[Level, str, str] | None:
    if peak > FP16.max:
        return "certain", "beyond FP16's 65504 it is infinite", "keep this node in FP32, or use BF16"
    if peak * HEADROOM > FP16.max:
        return (
            "possible",
            f"other inputs may pass FP16's 65504 (less than {HEADROOM:g} times as much)",
            ("keep this node in FP32, or scale its input down"),
        )
    if 0 < peak <= VANISHES:
        return "certain", "FP16 makes all of it 0", "keep this node in FP32, or scale it up"
    if 0 < peak < FP16.smallest_normal:
        return "possible", "in FP16 all of it is subnormal and loses digits", "keep this node in FP32, or scale it up"
    return None
