"""What a hazard check says, and what it may know of the activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["certain", "possible", "information"]
LEVELS: tuple[Level, ...] = ("certain", "possible", "information")


class Extremes(NamedTuple):
    """The lowest and highest finite number of one activation over all samples."""

    low: float
    high: float

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


Seen = Mapping[str, Extremes]


@dataclass(frozen=True)
class Finding:
    """One place where FP16 or BF16 may go wrong.

    Args:
        check: which check speaks, such as ``weights`` or ``epsilon``.
        node, op: the node and its operator.
        value: the tensor it is about; empty where it is about the node.
        number: the number that shows it, in the unit of the tensor (or a count of summands).
        reason, fix: why it goes wrong, and what to do, a clause each.
        fp16, bf16: how sure it is that the format goes wrong here; None where the format is safe.
        keep: nodes that must stay FP32 so that the rest can be FP16.
        confirmed: whether a run with FP16 rounding went wrong at one of these nodes; None where none was made.
    """

    check: str
    node: str
    op: str
    number: float
    reason: str
    fix: str
    fp16: Level | None
    bf16: Level | None = None
    value: str = ""
    keep: tuple[str, ...] = ()
    confirmed: bool | None = None

    @property
    def level(self) -> Level:
        """The more serious of both verdicts."""
        return min((v for v in (self.fp16, self.bf16) if v is not None), key=LEVELS.index, default="information")

    @property
    def verdict(self) -> str:
        """Both formats in a few words: ``unsafe in FP16, safe in BF16``."""
        words = {"certain": "unsafe", "possible": "may fail", "information": "loses digits", None: "safe"}
        one, other = words[self.fp16], words[self.bf16]
        return f"{one} in FP16 and BF16" if one == other else f"{one} in FP16, {other} in BF16"


@dataclass(frozen=True)
class Deviation:
    """One activation in an FP16 run against the FP32 run.

    Args:
        wild: numbers that are infinite or NaN in FP16 and finite in FP32.
        sqnr_db: signal to noise; -inf where something is wild.
    """

    node: str
    op: str
    value: str
    wild: int
    sqnr_db: float


@dataclass(frozen=True)
class HalfRun:
    """What a run with every result rounded to FP16 showed.

    Args:
        samples: how many were run; random ones where ``given`` is false.
        sqnr_db: of the worst model output.
        first_wild: the first node, in order of execution, that gives infinity or NaN; None if none does.
        first_off: the first node that falls below the signal to noise a sound FP16 run keeps.
        troubled: all nodes that do one or the other.
    """

    samples: int
    given: bool
    sqnr_db: float
    first_wild: Deviation | None
    first_off: Deviation | None
    troubled: frozenset[str] = frozenset()
    survives: bool = True
