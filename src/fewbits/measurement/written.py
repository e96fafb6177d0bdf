"""A model run as a whole on some samples, and how little signal to noise is too little."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options
from fewbits.measurement.deviation import flat

# Eight bits give 25 to 45 dB on networks that are made for them. Below the first a person is told, below the second
# the outputs have little to do with the model's.
DOUBTFUL_DB, USELESS_DB = 20.0, 5.0
# FP32 of two engines agrees to 60 to 120 dB; a fault is not in the last bits.
FP32_DB = 40.0


def run_on(source: ir.Model | Path, engine: Engine, options: Options, samples: Sequence[Sample]) -> list[Arrays]:
    """The outputs for each sample; the session is gone afterwards.

    Raises:
        EngineError: the engine cannot compile or run the model.
    """
    session = engine.compile(source, options)
    try:
        return [flat(session.run(sample.inputs)) for sample in samples]
    finally:
        session.close()
