"""Statistics of a model's activations in one pass over the samples, in memory that does not grow with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.running import run_all
from fewbits.calibration.statistics import Statistics, ValueStatistics
from fewbits.data import Sample
from fewbits.engines import Engine, Options
from fewbits.errors import DataError
from fewbits.graph.taps import OUTPUT, REDUCTIONS, TapLayout, tapped
from fewbits.numerics import Histogram

# A quarter of a million numbers place the 99.99th percentile between about 25 of them.
_WANTED_SAMPLES = 1 << 20
_LEAST, _MOST = 256, 8192
# Samples are binned in bundles: a histogram's fixed cost is then paid once for many images.
_BUNDLE = 16


def collect(
    model: ir.Model,
    names: Sequence[str],
    samples: Iterable[Sample],
    expected: int,
    engine: Engine,
    options: Options,
    *,
    sample_fingerprint: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> Statistics:
    """Run the samples once and keep extremes, means and histograms of the named values.

    Args:
        names: float activations or inputs of ``model``.
        expected: about how many samples there will be; sets how densely each one is sampled.
        options: the mode is throughput whatever it says: order does not matter here.

    Raises:
        DataError: no sample at all, or a value that was never finite.
        EngineError: the engine cannot compile or run the tapped model.
    """
    if not names:
        return Statistics(fingerprint(model), sample_fingerprint, sum(1 for _ in samples), {})
    density = min(max(_WANTED_SAMPLES // max(expected, 1), _LEAST), _MOST)
    probe, layout = tapped(model, names, density)
    session = engine.compile(probe, Options(options.device, "throughput", options.precision, options.threads))
    accumulators = [_Accumulator(layout) for _ in range(session.slots)]
    try:
        run_all(session, samples, lambda slot, _, outputs: accumulators[slot].add(outputs[OUTPUT]), progress)
    finally:
        session.close()
    for accumulator in accumulators:
        accumulator.flush()
    count = sum(a.count for a in accumulators)
    if not count:
        raise DataError("no calibration sample could be read", where="--calibration-data")
    values = {name: _joined(name, accumulators, i, count) for i, name in enumerate(layout.names)}
    return Statistics(fingerprint(model), sample_fingerprint, count, values)


class _Accumulator:
    """What one thread has seen."""

    def __init__(self, layout: TapLayout) -> None:
        total = sum(layout.channels)
        self.count = 0
        self.minimum = np.full(total, np.inf, np.float32)
        self.maximum = np.full(total, -np.inf, np.float32)
        self.sum = np.zeros(total, np.float64)
        self.histograms = [Histogram.empty() for _ in layout.names]
        self.cuts = np.cumsum((0, *layout.channels))
        self._low, self._high, self._mean = (np.r_[tuple(layout.positions(name))] for name in REDUCTIONS)
        self._samples = layout.samples()
        self._bundle = np.empty((_BUNDLE, layout.size), np.float32)
        self._filled = 0

    def add(self, taps: NDArray[np.float32]) -> None:
        self._bundle[self._filled] = taps
        self._filled += 1
        self.count += 1
        if self._filled == _BUNDLE:
            self.flush()

    def flush(self) -> None:
        if not self._filled:
            return
        bundle = self._bundle[: self._filled]
        np.minimum(self.minimum, bundle[:, self._low].min(axis=0), out=self.minimum)
        np.maximum(self.maximum, bundle[:, self._high].max(axis=0), out=self.maximum)
        self.sum += bundle[:, self._mean].sum(axis=0, dtype=np.float64)
        for histogram, cut in zip(self.histograms, self._samples, strict=True):
            histogram.add(bundle[:, cut])
        self._filled = 0


def _joined(name: str, accumulators: list[_Accumulator], index: int, count: int) -> ValueStatistics:
    first, *others = accumulators
    cut = slice(first.cuts[index], first.cuts[index + 1])
    histogram = first.histograms[index]
    for other in others:
        histogram = histogram.merge(other.histograms[index])
    low = np.min([a.minimum[cut] for a in accumulators], axis=0)
    high = np.max([a.maximum[cut] for a in accumulators], axis=0)
    total = np.sum([a.sum[cut] for a in accumulators], axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and np.isfinite(total).all()):
        raise DataError(
            f"activation {name} became infinite or NaN on the calibration data",
            fix="check the preprocessing (--mean, --scale, --channels) and the model",
        )
    return ValueStatistics(low, high, np.sum([a.sum[cut] for a in accumulators], axis=0) / count, histogram)


def fingerprint(model: ir.Model) -> str:
    """A hash of everything the activations depend on: operators, attributes, wiring and weights."""
    digest = hashlib.sha256()
    for node in model.graph:
        wiring = [node.op_type, *[v.name if v is not None else "" for v in (*node.inputs, *node.outputs)]]
        digest.update("\0".join(str(part) for part in wiring).encode())
        for name in sorted(node.attributes):
            digest.update(f"{name}={node.attributes[name].value}".encode())
    for name in sorted(model.graph.initializers):
        tensor = model.graph.initializers[name].const_value
        digest.update(name.encode())
        if tensor is not None:
            digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]
