"""Trying variants of a quantized model: how far each one's outputs are from FP32's, and which is better for certain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.devices.host import available_cores
from fewbits.engines import Arrays
from fewbits.numerics import Yardstick, decibels
from fewbits.quantization.corrections import CORRECTIONS
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.truth import TRIAL_SAMPLES, Truth, outputs_of
from fewbits.quantization.workshop import Bench, Tuned, build

# Outputs that are equal, or not comparable at all, are counted as this far apart.
DECIBELS = _FLOOR_DB, _CEILING_DB = -50.0, 150.0
_LEAST_SAMPLES = 3
# Standard errors by which a challenger must be better.
_MARGIN = 3.0
# Of the favourite's mean noise to signal, what counts as no noise; of a mean above the loudest that of the loudest.
_SILENT, _LOUDEST = 0.01, 1.0
# Variants in memory at one time.
_WORKERS = 4


class Trial:
    """Measures variants, each once, against the FP32 outputs, which are computed once for all.

    A variant that was begun is built, loaded and run beside whatever its caller does next.
    """

    def __init__(self, model: ir.Model, bench: Bench) -> None:
        self._bench = bench
        self._samples = bench.samples[:TRIAL_SAMPLES]
        self._pool = ThreadPoolExecutor(min(_WORKERS, bench.options.threads or available_cores()))
        self._truth = bench.truth or Truth(model, bench.engine, bench.options)
        self._runs: dict[str, Future[NDArray[np.float64]]] = {}

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def can_tell(self) -> bool:
        """Whether there are samples enough to tell variants apart at all."""
        return len(self._samples) >= _LEAST_SAMPLES

    def begin(self, variant: Tuned) -> Tuned:
        """Start measuring a variant, unless it was begun before; returns it."""
        key = name(variant.recipe)
        if self._samples and key not in self._runs:
            self._runs[key] = self._pool.submit(self._noise, variant, self._truth.begin(self._samples))
        return variant

    def best(self, favourite: Tuned, challengers: Sequence[Tuned]) -> Tuned:
        """Of the challengers that are better beyond doubt the best one; the favourite where there is none.

        Beyond doubt: the mean gain in dB, sample by sample, exceeds three times its standard error. The noise of each
        sample is taken relative to the mean signal of all. The margin is needed:
        a quantized network is chaotic at its outputs, a change of 1e-7 in its scales moves them by about as much as
        quantization does, and the plainly largest of five such figures would be an accident.
        """
        if not challengers or not self.can_tell:
            return favourite
        for variant in (favourite, *challengers):
            self.begin(variant)
        known = self._results()
        base = known[name(favourite.recipe)]
        # Samples without noise to speak of, such as those whose softmax is saturated, have no say.
        silent = _SILENT * min(float(base.mean()), _LOUDEST)
        found, most = favourite, 0.0
        for challenger in challengers:
            gain = _decibels(known[name(challenger.recipe)], silent) - _decibels(base, silent)
            doubt = _MARGIN * float(gain.std(ddof=1)) / math.sqrt(gain.size)
            if float(gain.mean()) > max(doubt, most):
                found, most = challenger, float(gain.mean())
        return found

    @property
    def reached(self) -> dict[str, float]:
        """SQNR of the worst unit of the outputs, pooled over the samples, in dB, of every variant begun, by name."""
        return {
            key: float(np.clip(decibels(float(ratios.mean())), _FLOOR_DB, _CEILING_DB))
            for key, ratios in self._results().items()
            if ratios.size
        }

    def _results(self) -> dict[str, NDArray[np.float64]]:
        found = {}
        for index, (key, run) in enumerate(self._runs.items()):
            self._bench.progress.step("trying variants", index, len(self._runs))
            found[key] = run.result()
        return found

    def _noise(self, variant: Tuned, truth: Future[list[Arrays]]) -> NDArray[np.float64]:
        """Noise to signal of the worst unit of the outputs, sample by sample."""
        model = build(variant)
        outputs = outputs_of(model, self._samples, self._bench.engine, self._bench.options)
        for value in model.graph.initializers.values():
            value.const_value = None  # nodes and values know each other: the weights would stay until a collection
        return worst_noise(Yardstick(truth.result()), outputs)


def worst_noise(yardstick: Yardstick, outputs: Sequence[Arrays]) -> NDArray[np.float64]:
    """Noise to signal, sample by sample, of the unit that has most of it over all samples; zeros without a unit."""
    if not yardstick.units:
        return np.zeros(len(outputs))
    ratios = np.array([yardstick.ratios(index, got) for index, got in enumerate(outputs)])
    return np.asarray(ratios[:, int(np.argmax(ratios.mean(axis=0)))])


def _decibels(ratios: NDArray[np.float64], silent: float) -> NDArray[np.float64]:
    return np.asarray(np.clip(-10 * np.log10(np.maximum(ratios + silent, 1e-15)), _FLOOR_DB, _CEILING_DB))


def name(recipe: Recipe) -> str:
    """``mse`` or ``mse+rounding+bias``."""
    return "+".join((recipe.method, *(correction for correction in CORRECTIONS if correction in recipe.corrections)))
