"""The records of a choice: candidates, what became of each, the budget, the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fewbits.devices.host import Host
from fewbits.engines import Mode
from fewbits.errors import InputError
from fewbits.measurement.records import Measurement
from fewbits.quantization.recipe import Recipe

Objective = Literal["latency", "throughput", "size"]
FORMATS = ("fp32", "fp16", "bf16", "int8", "mixed")


@dataclass(frozen=True)
class Candidate:
    """One way to run the model.

    Args:
        name: engine and format, such as ``openvino-int8``.
        format: which of FORMATS it stands for.
        precision: what floating-point operators execute in: f32, bf16 or f16.
        recipe: how it is quantized, None for floating point.
    """

    name: str
    engine: str
    format: str
    precision: str
    recipe: Recipe | None = None


@dataclass(frozen=True)
class GroupFacts:
    """One group of layers on one engine: what moves together, the noise it brings in, and its time in each format.

    Args:
        name: of the layer that multiplies; ``nodes`` are float when it is.
        only_db: SQNR at the outputs with this group alone in INT8.
        but_db: the same with this group alone in float.
        int8_us, float_us: microseconds in one run, None where the engine's profile does not name it.
    """

    name: str
    nodes: tuple[str, ...]
    only_db: float
    but_db: float
    int8_us: float | None = None
    float_us: float | None = None

    @property
    def noise(self) -> float:
        """Noise power the group brings in, per unit of signal power."""
        return float(10.0 ** (-self.only_db / 10.0))

    @property
    def saved_us(self) -> float | None:
        """What INT8 saves; negative where float is the faster side, None where a time is not known."""
        return None if self.int8_us is None or self.float_us is None else self.float_us - self.int8_us


@dataclass(frozen=True)
class Measured:
    """Built, run and measured. ``formats`` is what the model holds in the end, such as ``int8+fp32``."""

    candidate: Candidate
    formats: str
    measurement: Measurement
    files: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """The engine could not do it, or did it wrong; the sentence says what happened."""

    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class Refused:
    """Not tried, because this engine or host cannot do it; the sentence says why."""

    candidate: Candidate
    reason: str


Outcome: TypeAlias = Measured | Failed | Refused


@dataclass(frozen=True)
class Budget:
    """Constraints, never a weighted sum.

    ``max_drop`` is a fraction of the metric (0.01 is one point); ``confidence`` belongs to the intervals.
    """

    max_drop: float = 0.01
    confidence: float = 0.95
    objective: Objective = "latency"
    max_latency_ms: float | None = None
    max_size_bytes: int | None = None

    @property
    def mode(self) -> Mode:
        """The mode whose speed decides, and whose accuracy is therefore the one quoted."""
        return "throughput" if self.objective == "throughput" else "latency"

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise InputError(f"{self.max_drop} is no drop", where="--max-drop", fix="give a part of 1 or 0% to 100%")
        if not 0 < self.confidence < 1:
            raise InputError(
                f"{self.confidence} is no confidence",
                where="--confidence",
                fix="between 0 and 1, such as 0.95",
            )
        if self.max_latency_ms is not None and not self.max_latency_ms > 0:
            raise InputError(f"{self.max_latency_ms} is no time", where="--max-latency-ms", fix="give milliseconds")


@dataclass(frozen=True)
class Decision:
    """The answer: the chosen candidate's name, the sentence why, and for each other one why not.

    ``chosen`` is None where nothing fits the budget, not even FP32; ``reference`` where FP32 could not run.
    ``groups`` has, by engine, what was found out about each group of layers, in the order in which they leave INT8.
    ``differing`` are the positions of the test samples that the chosen candidate answers otherwise than the reference;
    None where the outputs are no classes.
    """

    model: str
    metric: str
    budget: Budget
    host: Host
    reference: str
    chosen: str | None
    reason: str
    rejected: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[GroupFacts, ...]] = field(default_factory=dict)
    differing: tuple[int, ...] | None = None
