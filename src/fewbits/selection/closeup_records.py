"""The records of a closer look at the chosen model, as ``closeup.json`` holds them."""

from __future__ import annotations

from dataclasses import dataclass

# Decibels are cut off here: so much signal to noise, or more, is no difference at all.
NO_NOISE_DB = 200.0


@dataclass(frozen=True)
class Activation:
    """A layer's output as calibration saw it, in the unit of the tensor.

    Args:
        low, high: the extremes; None where they are not finite.
        start, width: the left edge of the first bin, and how wide each is.
        counts: of values, a bin; at most 64 of them.
        clip: what the quantizer keeps, (low, high); None where the value is not quantized.
    """

    value: str
    low: float | None
    high: float | None
    start: float
    width: float
    counts: tuple[int, ...]
    clip: tuple[float, float] | None = None


@dataclass(frozen=True)
class Layer:
    """One operator of the FP32 model, with the activation functions fused into it.

    Args:
        format: what the engine's kernel computed in, such as ``i8``; where the profile is silent, what the file says.
        reason: why it is in floating point, where it is; empty otherwise.
        time_us, reference_time_us: one run's time in the chosen model and in the FP32 one; None where the engine
            merged it into another operator.
        sqnr_db: signal to noise of its output against FP32, at most ``NO_NOISE_DB``.
        low, high: the extremes of its output in FP32 on the samples compared.
        only_db, but_db: sensitivity: signal to noise at the model's output where only this layer is quantized, and
            where all but this layer are.
        hazards: what 16-bit formats would do to it, a sentence each.
        overflow: whether FP16 cannot hold its numbers.
    """

    node: str
    op: str
    format: str
    reason: str = ""
    time_us: float | None = None
    reference_time_us: float | None = None
    sqnr_db: float | None = None
    low: float | None = None
    high: float | None = None
    only_db: float | None = None
    but_db: float | None = None
    hazards: tuple[str, ...] = ()
    overflow: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Difference:
    """A test sample that the chosen model answers otherwise than FP32.

    Args:
        label: the right answer, empty where it is not known.
        expected, got: the answers of FP32 and of the chosen model, such as a class number.
        picture: a small JPEG as a ``data:`` address; empty where the sample is no image.
    """

    name: str
    label: str
    expected: str
    got: str
    picture: str = ""


@dataclass(frozen=True)
class Closeup:
    """Layers in order of execution, the samples answered differently, and what could not be seen.

    Args:
        layer_samples: test samples behind each SQNR.
        other_us, reference_other_us: time of operators the engine added itself, in the chosen and the FP32 model.
        differences: of the test samples answered otherwise, the first few; ``differing`` counts all of them.
        compared: test samples whose answers were compared.
    """

    chosen: str = ""
    reference: str = ""
    layers: tuple[Layer, ...] = ()
    layer_samples: int = 0
    other_us: float | None = None
    reference_other_us: float | None = None
    differences: tuple[Difference, ...] = ()
    differing: int = 0
    compared: int = 0
    notes: tuple[str, ...] = ()
