"""Statistics of a model's activations in one pass over the samples, in memory that does not grow with them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.calibration.running import run_all
from fewbits.calibration.sizes import VARIES, Sizes, learn_sizes, unsized
from fewbits.calibration.statistics import Statistics, ValueStatistics
from fewbits.data import Sample
from fewbits.engines import Engine, Options, Session
from fewbits.errors import DataError, EngineError
from fewbits.graph.taps import MAXIMUM, MINIMUM, OUTPUT, TapLayout, tapped
from fewbits.numerics import Histogram

# A quarter of a million numbers place the 99.99th percentile between about 25 of them. Values of many channels bring
# more; of these every n-th goes into the histogram, other ones of each sample, whichever thread runs it.
_WANTED_SAMPLES = 1 << 18
_LEAST, _MOST = 256, 8192
# Samples are binned in bundles of about so many bytes: a histogram's fixed cost is then paid once for many images.
_BUNDLE_BYTES, _MOST_ROWS = 16 << 20, 64
# The lowest number of FP32 stands for minus infinity in many graphs; numbers near it have no range to speak of.
_BOUNDLESS = 1e30
# Samples that sizes are learned from, where inference does not know them.
_PROBED = 3


def collect(
    model: ir.Model,
    names: Sequence[str],
    samples: Iterable[Sample],
    expected: int,
    engine: Engine,
    options: Options,
    *,
    unusable: Mapping[str, str] | None = None,
    sample_fingerprint: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> Statistics:
    """Run the samples once and keep extremes, moments and histograms of the named values.

    Args:
        names: float activations or inputs of ``model``.
        expected: about how many samples there will be; sets how densely each one is sampled.
        options: the mode is throughput whatever it says: order does not matter here.
        unusable: of the names those to leave out, each with the reason.

    Raises:
        DataError: no sample at all, or a value that is not a number.
        EngineError: the engine cannot compile or run the tapped model.
        SizeError: a value has another size in a later sample than in the first ones.
    """
    samples = iter(samples)
    head = list(itertools.islice(samples, _PROBED))
    density = min(max(_WANTED_SAMPLES // max(expected, 1), _LEAST), _MOST)
    options = replace(options, mode="throughput")
    probe = _open(model, names, head, density, engine, options, unusable or {}) if head else None
    faulty: list[str] = []
    samples = _watched(itertools.chain(head, samples), faulty)
    if probe is None:
        count = sum(1 for _ in samples)
        if names and not count:
            raise DataError("no calibration sample could be read", where="--calibration-data")
        return Statistics(fingerprint(model), sample_fingerprint, count, {}, dict.fromkeys(names, VARIES))
    session, layout = probe.session, probe.layout
    accumulators = [_Accumulator(layout, expected) for _ in range(session.slots)]
    try:
        run_all(session, samples, lambda slot, index, outputs: accumulators[slot].add(index, outputs[OUTPUT]), progress)
    finally:
        session.close()
    with ThreadPoolExecutor(len(accumulators)) as pool:
        list(pool.map(_Accumulator.flush, accumulators))
    count = sum(a.count for a in accumulators)
    values, found = {}, dict(probe.unusable)
    for index, tap in enumerate(layout.taps):
        joined = _joined(tap.name, accumulators, index, count, faulty)
        if joined is None:
            found[tap.name] = "has no finite range on the calibration data"
        else:
            values[tap.name] = joined
    return Statistics(fingerprint(model), sample_fingerprint, count, values, found)


class SizeError(ValueError):
    """A value has another size than in the samples that its size was learned from."""


def _watched(samples: Iterable[Sample], faulty: list[str]) -> Iterator[Sample]:
    """The samples as they are; names of those that hold infinity or NaN go to ``faulty``."""
    for sample in samples:
        if not all(np.isfinite(array).all() for array in sample.inputs.values() if array.dtype.kind == "f"):
            faulty.append(sample.name)
        yield sample


@dataclass(frozen=True)
class _Probe:
    """The tapped model, ready to run, and the values it has no taps for, each with the reason."""

    session: Session
    layout: TapLayout
    unusable: Mapping[str, str]


def _open(
    model: ir.Model,
    names: Sequence[str],
    head: Sequence[Sample],
    density: int,
    engine: Engine,
    options: Options,
    unusable: Mapping[str, str],
) -> _Probe | None:
    """Compile the taps; sizes that inference does not know or gets wrong are learned from the first samples.

    None where nothing is left to tap.
    """
    unsure = unsized(model, wanted := [name for name in names if name not in unusable])
    sizes = learn_sizes(model, unsure, head, engine, options) if unsure else Sizes({}, {})
    while True:
        left_out = {**unusable, **sizes.unusable}
        tappable = [name for name in wanted if name not in left_out]
        if not tappable:
            return None
        tapped_model, layout = tapped(model, tappable, density, sizes=sizes.known)
        try:
            session = engine.compile(tapped_model, options)
            if session.run(head[0].inputs)[OUTPUT].size == layout.size:
                return _Probe(session, layout, left_out)
            session.close()
        except EngineError:  # values of unlike sizes were laid side by side, perhaps
            if unsure is wanted:
                raise
        if unsure is wanted:
            raise SizeError("the taps do not give what their sizes say")
        unsure = wanted
        sizes = learn_sizes(model, wanted, head, engine, options)


class _Accumulator:
    """What one thread has seen."""

    def __init__(self, layout: TapLayout, expected: int) -> None:
        taps = layout.taps
        total = sum(tap.channels for tap in taps)
        self.count = 0
        self.cuts = np.cumsum((0, *(tap.channels for tap in taps)))
        # Values without a tapped minimum are never negative.
        self.minimum = np.zeros(total, np.float32)
        self._below = np.concatenate([np.full(tap.channels, MINIMUM in tap.places) for tap in taps])
        self.minimum[self._below] = np.inf
        self.maximum = np.full(total, -np.inf, np.float32)
        self.moments = [np.zeros((2, tap.channels)) for tap in taps]
        self._steps = [max(1, tap.sampled * expected // _WANTED_SAMPLES) for tap in taps]
        self.numbers = [tap.sampled // tap.channels for tap in taps]
        self.histograms = [Histogram.empty() for _ in taps]
        low, high = layout.positions(MINIMUM), layout.positions(MAXIMUM)
        self._low = np.r_[tuple(low)] if low else np.empty(0, np.intp)
        self._high = np.r_[tuple(high)]
        self._taps = taps
        rows = min(max(_BUNDLE_BYTES // (4 * layout.size), 1), _MOST_ROWS)
        self._bundle = np.empty((rows, layout.size), np.float32)
        self._indices = [0] * rows
        self._filled = 0

    def add(self, index: int, taps: NDArray[np.float32]) -> None:
        if taps.size != self._bundle.shape[1]:
            raise SizeError("a value has another size in this sample")
        self._bundle[self._filled], self._indices[self._filled] = taps, index
        self._filled += 1
        self.count += 1
        if self._filled == len(self._bundle):
            self.flush()

    def flush(self) -> None:
        if not self._filled:
            return
        bundle = self._bundle[: self._filled]
        if self._low.size:
            self.minimum[self._below] = np.minimum(self.minimum[self._below], bundle[:, self._low].min(axis=0))
        np.maximum(self.maximum, bundle[:, self._high].max(axis=0), out=self.maximum)
        parts = zip(self._taps, self._steps, self.histograms, self.moments, strict=True)
        for tap, step, histogram, moments in parts:
            sample = bundle[:, tap.sample]
            rows = zip(sample, self._indices, strict=False)
            histogram.add(np.concatenate([row[index % step :: step] for row, index in rows]) if step > 1 else sample)
            channels = tap.by_channel(sample)
            with np.errstate(over="ignore", invalid="ignore"):
                moments[0] += channels.sum(axis=(0, 1, 3), dtype=np.float64)
                moments[1] += np.einsum("nbca,nbca->c", channels, channels, dtype=np.float64)
        self._filled = 0


def _joined(
    name: str, accumulators: list[_Accumulator], index: int, count: int, faulty: Sequence[str]
) -> ValueStatistics | None:
    """What all threads have seen of one value; None where an operator of the model made infinity of good samples."""
    first, *others = accumulators
    cut = slice(first.cuts[index], first.cuts[index + 1])
    histogram = first.histograms[index]
    for other in others:
        histogram = histogram.merge(other.histograms[index])
    low = np.min([a.minimum[cut] for a in accumulators], axis=0)
    high = np.max([a.maximum[cut] for a in accumulators], axis=0)
    moments = np.sum([a.moments[index] for a in accumulators], axis=0) / (count * first.numbers[index])
    if max(np.abs(low).max(), np.abs(high).max()) < _BOUNDLESS and np.isfinite(moments).all():
        return ValueStatistics(low, high, moments[0], moments[1], histogram)
    if faulty or np.isnan(low).any() or np.isnan(high).any():
        which = f" (sample {faulty[0]} is so already)" if faulty else ""
        raise DataError(
            f"activation {name} became infinite or NaN on the calibration data{which}",
            fix="check the preprocessing (--mean, --scale, --channels) and the model",
        )
    return None


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
