"""Which range method? Each one's model is run on calibration samples; the least output error wins.

No single default is safe: min/max suffers from one outlier, clipping methods from distributions whose tail
decides the class. The error is measured where it matters, at the outputs, against the FP32 model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import Arrays, Engine, Options
from fewbits.numerics import METHODS, NoiseSum


@dataclass(frozen=True)
class MethodChoice:
    """The method with the highest output SQNR, and what each one reached (dB) on ``samples`` samples."""

    method: str
    sqnr_db: Mapping[str, float]
    samples: int


def choose_method(
    model: ir.Model,
    build: Callable[[str], ir.Model],
    samples: Sequence[Sample],
    engine: Engine,
    options: Options,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> MethodChoice:
    """Build the model with each method and compare its outputs with the FP32 model's.

    Args:
        build: method name → quantized model.
        samples: calibration samples, never test samples.

    Raises:
        EngineError: the engine cannot run the model.
    """
    truth = _outputs(model, samples, engine, options)
    reached = {}
    for index, method in enumerate(METHODS):
        progress(index, len(METHODS))
        noise: dict[str, NoiseSum] = {}
        for expected, got in zip(truth, _outputs(build(method), samples, engine, options), strict=True):
            for name, array in expected.items():
                noise.setdefault(name, NoiseSum()).add(array, got[name])
        # The worst output counts: boxes in pixels would drown scores between 0 and 1 in a common sum.
        reached[method] = min(part.sqnr_db for part in noise.values())
    return MethodChoice(max(reached, key=lambda name: reached[name]), reached, len(samples))


def _outputs(model: ir.Model, samples: Sequence[Sample], engine: Engine, options: Options) -> list[Arrays]:
    session = engine.compile(model, options)
    try:
        return [{k: v.copy() for k, v in session.run(sample.inputs).items()} for sample in samples]
    finally:
        session.close()
