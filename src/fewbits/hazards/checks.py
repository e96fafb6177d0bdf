"""The table of checks, and what follows from their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import onnx_ir as ir

from fewbits.graph.queries import node_name
from fewbits.hazards.constants import constants
from fewbits.hazards.epsilon import epsilon
from fewbits.hazards.exponentials import exponentials
from fewbits.hazards.integers import integers
from fewbits.hazards.masks import masks
from fewbits.hazards.periodic import periodic
from fewbits.hazards.ranges import ranges
from fewbits.hazards.records import LEVELS, Extremes, Finding, Seen
from fewbits.hazards.squares import squares
from fewbits.hazards.sums import sums

CHECKS: Final[tuple[Callable[[ir.Model, Seen], Iterator[Finding]], ...]] = (
    constants,
    epsilon,
    exponentials,
    squares,
    sums,
    integers,
    masks,
    periodic,
    ranges,
)

# Inputs that say where something lies: a constant there is a coordinate, a scale or a threshold.
_COORDINATES: Final[dict[str, tuple[int, ...]]] = {
    "Resize": (1, 2),
    "Upsample": (1,),
    "GridSample": (1,),
    "AffineGrid": (0,),
    "Range": (0, 1, 2),
    "RoiAlign": (1,),
    "MaxRoiPool": (1,),
    "NonMaxSuppression": (0, 1, 3, 4),
}


def check(model: ir.Model, seen: Mapping[str, Extremes] | None = None) -> tuple[Finding, ...]:
    """All findings, the most serious first, then in order of execution; nothing is run.

    Args:
        seen: extremes of activations by name (``hazards.observe``); checks say more with them.
    """
    order = {node_name(node): index for index, node in enumerate(model.graph)}
    found = [finding for one in CHECKS for finding in one(model, seen or {})]
    return tuple(sorted(found, key=lambda f: (LEVELS.index(f.level), order.get(f.node, 0))))


def unsafe_nodes(findings: Iterable[Finding], format: str = "fp16") -> frozenset[str]:
    """Names of the nodes that must stay FP32 for the rest to be in this format; those certain or possible.

    Args:
        format: fp16 or bf16.
    """
    bad = [f for f in findings if (f.fp16 if format == "fp16" else f.bf16) in ("certain", "possible")]
    return frozenset(name for finding in bad for name in finding.keep)


def unsafe_constants(model: ir.Model, findings: Iterable[Finding], format: str) -> frozenset[str]:
    """Names of the constants whose numbers must stay FP32 where weights are stored in this format.

    Those a finding is about, in which the format loses what counts: whole numbers and coordinates, numbers that
    overflow or vanish. And what positions are computed with.

    Args:
        format: fp16 or bf16.
    """
    bad = {f.value for f in findings if (f.fp16 if format == "fp16" else f.bf16) in ("certain", "possible")}
    places = [(node, index) for node in model.graph for index in _COORDINATES.get(node.op_type, ())]
    bad |= {v.name or "" for node, index in places for v in node.inputs[index : index + 1] if v is not None}
    return frozenset(name for name in model.graph.initializers if name in bad)
