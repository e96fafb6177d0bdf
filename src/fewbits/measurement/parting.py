"""Where two engines part on one FP32 model: the first operator whose results differ though its inputs agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options
from fewbits.engines.child import Bounds, reference_outputs
from fewbits.errors import FewbitsError
from fewbits.graph import queries
from fewbits.graph.queries import node_name
from fewbits.measurement.layers import float_values, with_outputs
from fewbits.measurement.written import FP32_DB, run_on
from fewbits.numerics import Yardstick

_SAMPLES = 2
# One operator in plain NumPy takes no longer, unless it is one to give up.
_BOUNDS = Bounds(wall_s=20.0, cpu_s=20, memory_bytes=4 << 30)


@dataclass(frozen=True)
class Parting:
    """The operator that two engines compute otherwise.

    Args:
        wrong: name of the engine that the ONNX reference evaluator contradicts; empty where it agrees with neither.
    """

    node: str
    op_type: str
    wrong: str

    @property
    def sentence(self) -> str:
        """``ConvTranspose 'up' is computed otherwise``."""
        return f"{self.op_type} '{self.node}' is computed otherwise"


def parting(
    model: ir.Model,
    samples: Sequence[Sample],
    one: Engine,
    other: Engine,
    options: Options,
    least_db: float = FP32_DB,
) -> Parting | None:
    """Find the operator; None where each one alone agrees, as engines fuse otherwise when asked for inner values.

    Args:
        least_db: what results that agree have at least.

    Raises:
        EngineError: one of the engines cannot run the model with its inner values as outputs.
    """
    samples = samples[:_SAMPLES]
    probe = with_outputs(model, float_values(model))
    mine, theirs = (run_on(probe, engine, options, samples) for engine in (one, other))
    for node in model.graph:
        names = [v.name or "" for v in node.outputs if v.name in mine[0]]
        worst = min((_agree_db(name, mine, theirs) for name in names), default=np.inf)
        if worst < least_db:
            return Parting(
                node_name(node), node.op_type, _wrong(model, node, names, samples, (one, mine), (other, theirs))
            )
    return None


def _agree_db(name: str, mine: Sequence[Arrays], theirs: Sequence[Arrays]) -> float:
    """In dB, pooled over the samples in which the value has one shape; the worst of the shapes."""
    if any(a[name].shape != b[name].shape for a, b in zip(mine, theirs, strict=True)):
        return -np.inf
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, outputs in enumerate(mine):
        alike.setdefault(outputs[name].shape, []).append(index)
    return min(
        Yardstick([{name: mine[i][name]} for i in places]).worst_db([theirs[i] for i in places])
        for places in alike.values()
    )


def _wrong(
    model: ir.Model,
    node: ir.Node,
    names: Sequence[str],
    samples: Sequence[Sample],
    *runs: tuple[Engine, Sequence[Arrays]],
) -> str:
    """Which engine the reference evaluator contradicts on this one operator, fed what the first engine computed."""
    (_, mine), *_ = runs
    try:
        alone = _alone(model, node)
        feeds = [
            {v.name or "": {**sample.inputs, **outputs}[v.name or ""] for v in alone.graph.inputs}
            for sample, outputs in zip(samples, mine, strict=True)
        ]
        expected = reference_outputs(alone, feeds, _BOUNDS)
    except (FewbitsError, KeyError, ValueError):
        return ""
    agree = [
        engine.name for engine, outputs in runs if min(_agree_db(name, expected, outputs) for name in names) >= FP32_DB
    ]
    return next((engine.name for engine, _ in runs if engine.name not in agree), "") if len(agree) == 1 else ""


def _alone(model: ir.Model, node: ir.Node) -> ir.Model:
    """A model of this node only; what it reads that is computed becomes an input.

    Raises:
        ValueError: it reads a value of unknown type.
    """
    model = model.clone()
    kept = next(n for n in model.graph if node_name(n) == node_name(node))
    moving = dict.fromkeys(v for v in kept.inputs if v is not None and not queries.is_constant(v))
    for other in [n for n in model.graph if n is not kept]:
        model.graph.remove(other)
    if any(v.type is None for v in moving):
        raise ValueError("an input of unknown type")
    model.graph.inputs[:] = list(moving)
    model.graph.outputs[:] = [v for v in kept.outputs if v.name]
    return model
