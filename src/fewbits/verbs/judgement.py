"""The written INT8 file, run in each engine it is for on samples that calibration has not used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewbits.engines import Arrays, Engine, Options
from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.measurement.written import DOUBTFUL_DB, USELESS_DB, run_on
from fewbits.numerics import OutputNoise, Yardstick, decibels
from fewbits.progress import Progress
from fewbits.verbs.standard import Standard

_FIX = "keep the layer in float (--keep-float), try --correct auto,rounding, or give other calibration samples"
_FIX_SAMPLE = "look at that sample, and leave it out of the calibration data where it is broken"


class UselessModelError(InputError):
    """The INT8 model has little to do with the FP32 model; nothing is written."""


def judge(
    file: Path,
    standard: Standard,
    engines: Sequence[Engine],
    options: Options,
    why: Callable[[], tuple[str, str]],
    progress: Progress,
) -> tuple[OutputNoise, ...]:
    """Run the file and compare; a doubtful result is warned of.

    Args:
        engines: those that are to run it.
        why: the worst layer and the calibration sample that stretched a range, empty where there is none; asked only
            where the result is bad.

    Raises:
        UselessModelError: in one of the engines it does not run, or computes something else than the model.
    """
    if not standard.outputs:
        progress.warn(f"the file was not compared with the model: {standard.said}")
        return ()
    yardstick = Yardstick(standard.outputs)
    found: list[OutputNoise] = []
    for engine in engines:
        progress.step(f"running {file.name} in {engine.name}")
        outputs = _worst_run(file, engine, options, standard, yardstick)
        reached = yardstick.of_each_output(outputs, engine.name)
        found += reached
        worst = min(reached, key=lambda output: output.sqnr_db, default=None)
        if worst is None or worst.sqnr_db >= DOUBTFUL_DB:
            continue
        ratios = np.array([yardstick.ratios(index, got) for index, got in enumerate(outputs)])
        without, name = _without_the_worst(ratios, standard)
        said = f"the INT8 model has {worst.sqnr_db:.1f} dB at output {worst.unit} in {engine.name}"
        layer, sample = _explained(why)
        said = "; ".join(filter(None, (f"{said}, on {len(outputs)} samples", layer and f"worst layer {layer}", sample)))
        fix = _FIX_SAMPLE if sample else _FIX
        if without >= DOUBTFUL_DB:
            progress.warn(f"{said}; without sample {name} it is {without:.1f} dB: look at that sample")
        elif max(worst.sqnr_db, without) < USELESS_DB:
            raise UselessModelError(said, where=file.name, fix=fix)
        else:
            progress.warn(f"{said} - {fix}")
    return tuple(found)


def _worst_run(file: Path, engine: Engine, options: Options, standard: Standard, yardstick: Yardstick) -> list[Arrays]:
    """The outputs with sizes fixed to those of a sample, or as the file leaves them: engines use other kernels."""
    try:
        runs = [run_on(file, engine, replace(options, shapes=shapes), standard.samples) for shapes in ((), None)]
    except EngineError as error:
        raise UselessModelError(
            f"{engine.name} runs the FP32 model and not its INT8 version: {error.what}",
            where=file.name,
            fix="choose the other engine with --engine, or keep the layer in float (--keep-float)",
        ) from error
    return min(runs, key=yardstick.worst_db)


def _without_the_worst(ratios: np.ndarray, standard: Standard) -> tuple[float, str]:
    """Signal to noise of the worst unit without the sample that has most noise, in dB, and that sample's name."""
    unit = int(np.argmax(ratios.mean(axis=0)))
    worst = int(np.argmax(ratios[:, unit]))
    others = np.delete(ratios, worst, axis=0)
    left = decibels(float(others.mean(axis=0).max())) if len(others) > 1 else -np.inf
    return left, standard.samples[worst].name


def _explained(why: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    try:
        return why()
    except FewbitsError:  # an engine that cannot give inner values: the judgement stands without the explanation
        return "", ""
