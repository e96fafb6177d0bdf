"""Do the labels fit the model."""

from __future__ import annotations

from fewbits.errors import DataError

from .dataset import Dataset


def check_labels(dataset: Dataset, classes: int) -> None:
    """Whether every class number, offset included, is one of the model's ``0..classes-1``.

    Boxes, masks and other targets are no class numbers and pass.

    Raises:
        DataError: names the first sample that does not fit, its label, and ``--label-offset``.
    """
    for index in range(len(dataset)):
        label = dataset.label(index)
        if label is not None and not 0 <= label < classes:
            offset = dataset.label_offset
            written = f"{label - offset} with offset {offset}, so {label}" if offset else str(label)
            raise DataError(
                f"the label is {written}, but the model has {classes} classes, 0..{classes - 1}",
                where=f"{dataset.name}: {dataset.sample_name(index)}",
                fix=f"set --label-offset so that labels fit (it is {offset} now)",
            )
