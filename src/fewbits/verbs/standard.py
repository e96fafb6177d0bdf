"""What a calibrated file is held against: the model as it was given, run by an engine.

FP32 is compared first, engine against engine: where one computes something else its INT8 cannot be right. The operator
where they part is named, and the ONNX reference evaluator, asked about this operator alone, says which is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from fewbits.data import Dataset, Sample, first, stream, subset
from fewbits.engines import ENGINES, TRIALS, Arrays, Engine, Options
from fewbits.errors import EngineError, FewbitsError, SampleError
from fewbits.measurement.parting import parting
from fewbits.measurement.written import FP32_DB, run_on
from fewbits.numerics import Yardstick

# Samples the written file is judged on, and those of them that FP32 is compared on.
_JUDGED, _COMPARED = 8, 2
# One sample in so many is set aside for the judgement; of fewer than the fewest, none.
_ONE_IN, _FEWEST = 10, 4
# A set of so many samples is read as a whole to choose them.
_SMALL = 64


@dataclass(frozen=True)
class Standard:
    """What FP32 gives.

    Args:
        samples, outputs: those of the reference; none where the model's outputs are random.
        said: what computed them.
        out: engine → a sentence why it cannot be used: it does not run the model, or computes something else.
    """

    samples: tuple[Sample, ...]
    outputs: tuple[Arrays, ...]
    said: str
    out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """A model, or the file it was given as, on one engine."""

    source: ir.Model | Path
    engine: Engine
    options: Options

    def __call__(self, samples: Sequence[Sample]) -> list[Arrays]:
        return run_on(self.source, self.engine, self.options, samples)


def set_aside(dataset: Dataset, whole: Dataset) -> tuple[Dataset, Dataset]:
    """(calibration, judgement): what calibration does not use is judged on.

    Where it would use all of ``whole``, one sample in ten is set aside, two at least; of fewer than four, all serve for
    both. Of a small set the samples of a typical size go: without its extremes the others would not show the range.
    """
    size = len(dataset)
    if len(whole) > size:
        used = set(dataset.content_keys())
        looked_at = range(min(len(whole), size + _JUDGED))
        if others := [index for index in looked_at if whole.content_key(index) not in used]:
            return dataset, subset(whole, others[:_JUDGED])
    if size < _FEWEST:
        return dataset, dataset
    count = min(max(size // _ONE_IN, 2 if size >= 2 * _FEWEST else 1), _JUDGED)
    if size <= _SMALL:
        order = _by_magnitude(dataset)
        begin = max(len(order) - count, 0) // 2
        aside = sorted(order[begin : begin + count])
    else:
        aside = [int((k + 0.5) * size / count) for k in range(count)]
    return subset(dataset, [index for index in range(size) if index not in aside]), subset(dataset, aside)


def _by_magnitude(dataset: Dataset) -> list[int]:
    """The samples that can be read, from the one whose largest number is smallest to the one where it is largest."""
    found = []
    for index in range(len(dataset)):
        with contextlib.suppress(SampleError):
            arrays = dataset.read(index).inputs.values()
            found.append((max((float(np.abs(array).max(initial=0)) for array in arrays), default=0.0), index))
    return [index for _, index in sorted(found)] or list(range(len(dataset)))


def begin_standard(
    given: Path, model: ir.Model, dataset: Dataset, engines: Sequence[Engine], options: Options
) -> Future[Standard]:
    """Run FP32 in a thread of its own, beside calibration.

    Args:
        given: the file as it was given.
        model: what was read of it and simplified.
        engines: all that are to collect statistics or to run the result.

    Returns:
        The standard to come. It raises ``EngineError`` where no engine runs the model, ``FewbitsError`` where what was
        read is not what the file says.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="fewbits-standard")
    found = pool.submit(_standard, given, model, dataset, engines, options)
    pool.shutdown(wait=False)
    return found


def _standard(given: Path, model: ir.Model, dataset: Dataset, engines: Sequence[Engine], options: Options) -> Standard:
    samples = tuple(first(stream(dataset, workers=1), _JUDGED))
    few = samples[:_COMPARED]
    reference, outputs, said = _reference(given, model, engines, options, samples)
    yardstick = Yardstick(outputs[: len(few)])
    if yardstick.worst_db(reference(few)) < FP32_DB:
        return Standard((), (), "nothing: its outputs are random")
    out, apart = {}, []
    for engine in engines:
        try:
            if yardstick.worst_db(run_on(model, engine, options, few)) < FP32_DB:
                apart.append(engine)
        except EngineError as error:
            out[engine.name] = error.what
    if reference.engine in apart and isinstance(reference.source, Path):
        raise FewbitsError(
            "what fewbits reads of this model computes something else than the file",
            where=str(given),
            fix="report this model",
        )
    for engine in apart:
        parted = parting(model, few, reference.engine, engine, options)
        if parted is not None and parted.wrong == reference.engine.name:
            out[reference.engine.name] = f"{parted.sentence} by {parted.wrong} than the ONNX reference evaluator has it"
            outputs, said = run_on(model, engine, options, samples), f"what fewbits read of the file, in {engine.name}"
            break
        where = "it computes something else" if parted is None else f"{parted.sentence} by {engine.name}"
        out[engine.name] = f"{where} than by {reference.engine.name}"
        if parted is not None and parted.wrong == engine.name:
            out[engine.name] += " and by the ONNX reference evaluator"
    return Standard(samples, tuple(outputs), said, out)


def _reference(
    given: Path, model: ir.Model, engines: Sequence[Engine], options: Options, samples: Sequence[Sample]
) -> tuple[_Run, list[Arrays], str]:
    """The first that runs: the given file in an engine that reads it, or else what was read of it."""
    readers = {".onnx": (TRIALS, *ENGINES.values()), ".xml": (ENGINES["openvino"],)}.get(given.suffix.lower(), ())
    runs = [_Run(given, engine, options) for engine in dict.fromkeys(readers)]
    runs += [_Run(model, engine, options) for engine in dict.fromkeys((TRIALS, *engines))]
    failures: list[EngineError] = []
    for run in runs:
        try:
            what = "the given file" if run.source is given else "what fewbits read of the file"
            return run, run(samples), f"{what}, in {run.engine.name}"
        except EngineError as error:
            failures.append(error)
    raise failures[-1]
