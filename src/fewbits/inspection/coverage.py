"""What an engine would run in INT8, and why not the rest."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.engines import Engine
from fewbits.graph import queries
from fewbits.graph.quantized import is_quantized
from fewbits.graph.queries import node_name
from fewbits.inspection.records import Coverage
from fewbits.quantization.placement import place
from fewbits.quantization.recipe import Recipe


def coverage(model: ir.Model, engine: Engine, *, quantized: bool = False) -> Coverage:
    """Place quantizers as ``calibrate`` would, and count the work that then runs in INT8.

    Args:
        quantized: whether the model was quantized as it was given; simplified, it may not show it any more.
    """
    if quantized or is_quantized(model):
        return Coverage(engine.name, 0.0, 0, {}, "the model is quantized already")
    try:
        placement = place(model, Recipe(), engine.capability)
    except ValueError as error:  # weights whose shape is only known when the model runs
        return Coverage(engine.name, 0.0, 0, {}, str(error))
    work = {node_name(node): queries.macs(node) for node in model.graph}
    total = sum(work.values())
    done = sum(queries.macs(node) for node in placement.compute)
    grouped: dict[str, list[str]] = {}
    for node, reason in placement.skipped.items():
        grouped.setdefault(reason, []).append(node)
    heaviest = sorted(grouped.items(), key=lambda item: -sum(work.get(node, 0) for node in item[1]))
    return Coverage(
        engine.name,
        done / total if total else 0.0,
        len(placement.integer),
        {reason: tuple(nodes) for reason, nodes in heaviest},
    )
