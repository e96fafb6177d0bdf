"""What the FP32 model makes of the calibration samples that variants are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options

# Enough to tell variants apart that differ by a decibel, few enough to cost tenths of a second.
TRIAL_SAMPLES = 16


class Truth:
    """Computed once, in a thread of its own: it may begin as soon as the samples are read, beside calibration."""

    def __init__(self, model: ir.Model, engine: Engine, options: Options) -> None:
        self._model, self._engine, self._options = model, engine, options
        self._run: Future[list[Arrays]] | None = None

    def begin(self, samples: Sequence[Sample]) -> Future[list[Arrays]]:
        """The outputs on the first of these samples, to come; the samples of the first call count.

        Its result raises ``EngineError`` where the engine cannot run the model.
        """
        if self._run is None:
            pool = ThreadPoolExecutor(1, thread_name_prefix="fewbits-truth")
            self._run = pool.submit(outputs_of, self._model, samples[:TRIAL_SAMPLES], self._engine, self._options)
            pool.shutdown(wait=False)
        return self._run


def outputs_of(model: ir.Model, samples: Sequence[Sample], engine: Engine, options: Options) -> list[Arrays]:
    """What one thread of the engine makes of each sample: loading a model takes only one, so several go side by side.

    Raises:
        EngineError: the engine cannot run the model.
    """
    session = engine.compile(model, replace(options, mode="latency", threads=1))
    try:
        return [{k: v.copy() for k, v in session.run(sample.inputs).items()} for sample in samples]
    finally:
        session.close()
