"""Before anything is quantized or believed: is the data read as the model was trained to read it?"""

from __future__ import annotations

import contextlib

import onnx_ir as ir

from fewbits.data import Dataset
from fewbits.engines import TRIALS, Engine, Options, Session
from fewbits.errors import DataError
from fewbits.measurement.metrics import Metric
from fewbits.measurement.sanity import Repair, Sanity, look
from fewbits.progress import Progress

_JUDGED = ("top1", "top5")
# Of the time for the whole run.
_SHARE = 0.1


def check_fp32(
    model: ir.Model,
    data: Dataset,
    metric: Metric,
    seed: int,
    progress: Progress,
    time_budget_s: float | None = None,
    engine: Engine = TRIALS,
) -> None:
    """Look at FP32 on a few samples, and warn of the option that looks wrong; skipped where time is too short for it.

    Raises:
        DataError: FP32 guesses, and one change of the options repairs it; the fix names them.
        EngineError: the model does not run.
    """
    if metric.name not in _JUDGED:
        return
    progress.step("looking at FP32 on a few samples")
    with contextlib.closing(engine.compile(model, Options(mode="throughput"))) as session:
        found = look(session, data, seed, None if time_budget_s is None else _SHARE * time_budget_s)
    if found and found.guessing and found.repair:
        raise DataError(_sentence(found, found.repair), where=data.name, fix=f"give {found.repair.options}")
    _warn(found, data, progress)


def warn_of_slips(session: Session, data: Dataset, metric: Metric, seed: int, progress: Progress) -> None:
    """The same look for a model that is only measured: whatever is found is a warning.

    Raises:
        EngineError: the model does not run.
    """
    if metric.name in _JUDGED:
        progress.step("looking at a few samples")
        _warn(look(session, data, seed), data, progress)


def _warn(found: Sanity | None, data: Dataset, progress: Progress) -> None:
    if found and found.repair:
        progress.warn(f"{data.name}: {_sentence(found, found.repair)} - is that how the model was trained?")
    elif found and found.guessing:
        tried = "channels, mean, scale, crop, layout, label offset" if found.images else "label offset"
        progress.warn(
            f"{data.name}: {_near(found)}, and none of the usual slips ({tried}) explains it - "
            "check the model, its preprocessing and the labels before you rely on the result"
        )


def _sentence(found: Sanity, repair: Repair) -> str:
    if found.guessing:
        return f"{_near(found)}; with {repair.options} it is {repair.top1:.1%}"
    return (
        f"top-1 is {repair.top1_as_given:.1%} on {repair.samples} samples, and {repair.top1:.1%} with {repair.options}"
    )


def _near(found: Sanity) -> str:
    return f"top-1 is {found.top1:.1%} on {found.samples} samples, near the {1 / found.classes:.1%} of guessing"
