"""Statistics of a model over a calibration set: read, run, and what could not be read told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from fewbits.calibration.collect import SizeError, collect
from fewbits.calibration.sizes import VARIES, unsized
from fewbits.calibration.statistics import Statistics
from fewbits.data import BadSamples, Dataset, Sample, keeping, stream
from fewbits.engines import Engine, Options
from fewbits.progress import Progress


def gather(
    model: ir.Model,
    names: Sequence[str],
    dataset: Dataset,
    engine: Engine,
    options: Options,
    progress: Progress,
    kept: list[Sample],
    keep: int = 0,
    when_kept: Callable[[Sequence[Sample]], object] = lambda _: None,
) -> Statistics:
    """Run the whole calibration set once.

    Args:
        names: the values to watch.
        options: device and threads; BF16 is used where the device computes in it, which moves ranges by far less
            than one step of 8 bits (``benchmarks/statistics.py``).
        kept: takes up to ``keep`` of the first samples, so that trials need not read them again.
        when_kept: called with them before the model is loaded, which leaves cores idle.

    Raises:
        DataError: too many samples cannot be read, or a value was never finite.
        EngineError: the engine cannot run the model.
    """
    bad = BadSamples()
    samples = keeping(stream(dataset, workers=2, on_bad=bad), kept, keep)
    head: list[Sample] = []
    while len(head) < keep and (sample := next(samples, None)) is not None:
        head.append(sample)
        if len(kept) < len(head):  # too large to keep them all
            break
    if kept:
        when_kept(kept)
    precision = "f32" if engine.refuses("bf16", options.device) else "bf16"

    def run(samples: Iterable[Sample], unusable: Mapping[str, str]) -> Statistics:
        return collect(
            model,
            names,
            samples,
            len(dataset),
            engine,
            replace(options, mode="throughput", precision=precision),
            unusable=unusable,
            sample_fingerprint=dataset.fingerprint(),
            progress=lambda done: progress.step("calibration", done, len(dataset)),
        )

    try:
        found = run(itertools.chain(head, samples), {})
    except SizeError:  # once more without the values whose sizes nobody can know beforehand
        found = run(stream(dataset, workers=2), dict.fromkeys(unsized(model, names), VARIES))
    if len(bad):
        progress.warn(bad.sentence("calibration"))
    return found
