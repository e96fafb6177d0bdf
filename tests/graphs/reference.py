"""The graph run step by step: its truth, and what a format's rounding alone makes of it, by nobody's code but this."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
from onnx import numpy_helper

from .generator import Drawn
from .steps import Array, Step

Arrays = dict[str, Array]
# (name, what reads it or None where it was just computed, array) → the array handed on.
Touch = Callable[[str, Step | None, Array], Array]
TIPPED = 0.01
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def interpret(drawn: Drawn, feed: Arrays, touch: Touch | None = None) -> Arrays:
    """Every value of the graph for this feed."""
    values: Arrays = {t.name: numpy_helper.to_array(t) for t in drawn.initializers}
    weights = set(values)
    values |= feed
    if touch is not None:
        values = {name: touch(name, None, array) for name, array in values.items()}
    for step in drawn.steps:
        read = values
        if touch is not None:
            read = {name: touch(name, step, values[name]) for name in step.inputs}
        found = step.run(drawn.style.opset, read)
        for name, array in zip(step.outputs, found, strict=True):
            values[name] = array if touch is None else touch(name, None, array)
    return {name: values[name] for name in values if name not in weights}


def outputs(drawn: Drawn, feeds: Sequence[Arrays], touch: Touch | None = None) -> list[Arrays]:
    """The outputs alone, feed by feed."""
    return [{n: v for n, v in interpret(drawn, feed, touch).items() if n in drawn.outputs} for feed in feeds]


def rounding(kind: str, drawn: Drawn) -> Touch:
    """Every float that is computed or given is rounded as ``kind`` does; fp32: moved by a few of its units.

    Where the graph itself quantizes, scales are often such that sums lie half way between two numbers: a few of them
    tip over by one.
    """
    rng = np.random.default_rng(0)
    tipping = {
        name
        for step in drawn.steps
        if any("Quantize" in n.op_type or "QLinear" in n.op_type for n in step.nodes)
        for name in step.outputs
    }

    def touch(name: str, reader: Step | None, array: Array) -> Array:
        if reader is None and name in tipping and array.dtype in (np.int8, np.uint8):
            limits = np.iinfo(array.dtype)
            by = rng.choice([-1, 0, 1], array.shape, p=[TIPPED / 2, 1 - TIPPED, TIPPED / 2])
            return np.asarray(np.clip(array.astype(np.int32) + by, limits.min, limits.max), array.dtype)
        if reader is not None or array.dtype != np.float32:
            return array
        if kind == "fp32":
            return np.asarray(array * (1 + rng.uniform(-(2.0**-21), 2.0**-21, array.shape)), np.float32)
        if kind == "bf16":
            return np.asarray(array.astype(ml_dtypes.bfloat16).astype(np.float32))
        with np.errstate(over="ignore"):
            return np.asarray(array.astype(np.float16).astype(np.float32))

    return touch


def eight_bits(drawn: Drawn, calibration: Sequence[Arrays]) -> Touch:
    """What every layer reads and gives is quantized to 8 bits between its extremes on the calibration samples."""
    ranges: dict[str, tuple[float, float]] = {}
    given = {name for step in drawn.steps if _by_layer(step) for name in step.outputs}

    def is_rounded(name: str, reader: Step | None) -> bool:
        return _by_layer(reader) or (reader is None and name in given)

    def watch(name: str, reader: Step | None, array: Array) -> Array:
        if is_rounded(name, reader) and array.dtype == np.float32 and array.size:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, float(array.min())), max(high, float(array.max())))
        return array

    for feed in calibration:
        interpret(drawn, feed, watch)

    def touch(name: str, reader: Step | None, array: Array) -> Array:
        if not is_rounded(name, reader) or array.dtype != np.float32 or name not in ranges:
            return array
        low, high = ranges[name]
        scale = (high - low) / 255 or 1.0
        return np.asarray(np.round(np.clip(array, low, high) / scale) * scale, np.float32)

    return touch


def _by_layer(reader: Step | None) -> bool:
    return reader is not None and any(node.op_type in LAYERS for node in reader.nodes)
