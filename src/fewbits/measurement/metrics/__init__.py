"""Task metrics: how right a candidate is, sample by sample.

A metric boils each sample down to evidence (``observe``) and the evidence of a set down to a fraction
(``score``). Adding one is one file and one line in :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fewbits.errors import InputError
from fewbits.measurement.metrics import function
from fewbits.measurement.metrics.agreement import Agreement
from fewbits.measurement.metrics.average_precision import AveragePrecision
from fewbits.measurement.metrics.cosine import Cosine
from fewbits.measurement.metrics.evidence import Evidence, Metric, Outputs, SetMetric, from_json, to_json
from fewbits.measurement.metrics.function import FunctionMetric
from fewbits.measurement.metrics.miou import MeanIoU
from fewbits.measurement.metrics.outputs import classes
from fewbits.measurement.metrics.top import Top

METRICS: tuple[Metric, ...] = (
    Top(1),  # classification: the highest score is the label
    Top(5),  # classification: the label is among the five highest
    AveragePrecision("map"),  # detection: COCO mAP@[.5:.95]
    AveragePrecision("map50", ious=(0.5,)),  # detection: mAP at IoU 0.5
    MeanIoU(),  # segmentation: mean IoU over classes
    Agreement(),  # no labels: the same class as the FP32 model
    Cosine(),  # no labels: outputs of any shape
)


def metric(
    name: str | None,
    *,
    labelled: bool,
    categories: Mapping[int, int] | None = None,
    input_size: tuple[int, int] | None = None,
) -> Metric:
    """The metric of this name, ready to observe.

    Args:
        name: a name of :data:`METRICS`, ``module:function``, or None for top1 where there are labels and
            agreement where there are none.
        labelled: whether the data set has labels.
        categories: for map and map50, class number of the model → category id of the data; None where
            they are the same numbers. Categories not named are left out of the mean.
        input_size: for map and map50, (width, height) of the model's input where boxes are in its pixels.

    Raises:
        InputError: no such metric, a function that cannot be imported, or a metric that needs labels
            where there are none.
    """
    if name is None:
        name = "top1" if labelled else "agreement"
    if ":" in name:
        return function.load(name)
    table = {known.name: known for known in METRICS}
    if name not in table:
        raise InputError(
            f"there is no metric {name!r}",
            where="--metric",
            fix=f"choose one of {', '.join(table)}, or module:function",
        )
    chosen = table[name]
    if chosen.needs_labels and not labelled:
        raise InputError(
            f"{name} needs labels and the data has none",
            where="--metric",
            fix="give labelled data, or choose agreement or cosine",
        )
    if isinstance(chosen, AveragePrecision):
        pairs = tuple(sorted(categories.items())) if categories is not None else ()
        return replace(chosen, categories=pairs, input_size=input_size)
    return chosen


__all__ = [
    "METRICS",
    "Agreement",
    "AveragePrecision",
    "Cosine",
    "Evidence",
    "FunctionMetric",
    "MeanIoU",
    "Metric",
    "Outputs",
    "SetMetric",
    "Top",
    "classes",
    "from_json",
    "metric",
    "to_json",
]
