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
