"""Activations that leave FP16's range on the samples that were seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
    """Activations with known extremes: beyond 65504, close to it, or too small to have digits.

    A value that is as bad as the one it was made of counts to that one's finding.
    """
    found: list[Finding] = []
    place: dict[ir.Value, int] = {}
    for value in [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]:
        extremes = seen.get(value.name or "")
        said = None if extremes is None or value.dtype != ir.DataType.FLOAT else _judge(extremes.peak)
        readers, node = users(value), value.producer()
        maker = node or (readers[0] if readers else None)
        if extremes is None or said is None or maker is None:
            continue
        level, reason, fix = said
        before = [place[v] for v in (node.inputs if node else ()) if v in place and found[place[v]].fix == fix]
        if before and found[before[0]].fp16 == level:
            first = found[before[0]]
            found[before[0]] = replace(first, keep=tuple(dict.fromkeys((*first.keep, *around(value)))))
            place[value] = before[0]
            continue
        place[value] = len(found)
        reason = f"{value.name} reaches {extremes.peak:.4g} on the data: {reason}"
        op, name, keep = maker.op_type, value.name or "", around(value)
        found.append(Finding("ranges", node_name(maker), op, extremes.peak, reason, fix, level, value=name, keep=keep))
    yield from found


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
