"""What ``inspect`` found, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewbits.hazards.records import Finding, HalfRun
from fewbits.numerics import TensorSpec


@dataclass(frozen=True)
class Facts:
    """What a model consists of, as it was read.

    Args:
        operators: how many nodes of each operator, most frequent first.
        parameters: numbers in all constants; parameter_bytes: what they take as stored.
        macs: multiply-accumulates for one sample; of nodes whose sizes are known.
        unknown_sizes: nodes that multiply and accumulate, but whose sizes are only known when the model runs.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    nodes: int
    parameters: int
    parameter_bytes: int
    macs: int
    unknown_sizes: int


@dataclass(frozen=True)
class Coverage:
    """What one engine would run in INT8.

    Args:
        share: of the multiply-accumulates, 0 to 1.
        integer: how many nodes run in INT8.
        reasons: why the others stay in floating point, and which they are, the most work first.
        note: why nothing could be said; empty otherwise.
    """

    engine: str
    share: float
    integer: int
    reasons: Mapping[str, tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True)
class Inspection:
    """Everything ``inspect`` found.

    Args:
        frontend: which frontend read the file.
        opset: of the file; ``read_as`` is the one it was brought to.
        samples: how many the ranges of activations are from; 0 without data.
        findings: FP16 and BF16 hazards, the most serious first, of the simplified model.
        keep: nodes that stay FP32 in an FP16 model, out of ``nodes``.
        run: the FP16 run, None where the model could not be run.
        mixed: the same with ``keep`` in FP32; None where there is nothing to keep or no run.
    """

    model: Path
    frontend: str
    producer: str
    opset: int
    read_as: int
    size_bytes: int
    facts: Facts
    coverage: tuple[Coverage, ...]
    samples: int
    findings: tuple[Finding, ...]
    keep: tuple[str, ...]
    nodes: int
    run: HalfRun | None
    mixed: HalfRun | None = None
    warnings: tuple[str, ...] = ()
