"""Before the work: are there samples enough to prove what is asked for?"""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.measurement.interval import best_case, samples_needed
from fewbits.measurement.metrics import Agreement, Metric, Top
from fewbits.selection.records import Budget


def too_few(model: ir.Model, metric: Metric, samples: int, budget: Budget) -> str:
    """What so few samples can show at best, in words; empty where they can prove the budget.

    Only of metrics that find each sample right or wrong this is known beforehand.
    """
    if not (isinstance(metric, Top) or (isinstance(metric, Agreement) and _classifies(model))):
        return ""
    best = best_case(samples, budget.confidence)
    if best.high <= budget.max_drop:
        return ""
    said = f"{samples} test samples show a drop only to ±{best.high * 100:.2f} points, at best"
    needed = samples_needed(best, budget.max_drop)
    allowed = f"{budget.max_drop * 100:g}"
    if needed is None:
        return f"{said}; no number of samples proves a drop of {allowed}"
    return f"{said}; to prove one of {allowed}, {needed} or more are needed"


def _classifies(model: ir.Model) -> bool:
    return all(len(queries.dims(value) or ()) == 2 for value in model.graph.outputs)
