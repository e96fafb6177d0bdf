"""``--data D``: one door to every form a data set comes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

from .array_dataset import open_npy, open_npz
from .coco import list_coco
from .csv_list import list_csv
from .dataset import Dataset
from .folders import list_folder, list_masked
from .image_dataset import ImageDataset, ImageEntry, image_input
from .preprocess import Preprocess
from .sample import Category
from .user_dataset import open_user
from .user_function import is_reference

_FORMS = "a folder of images, .csv, .npy, .npz, COCO .json, or module:function"


def open_dataset(
    spec: str | Path,
    *,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess | None = None,
    images: Path | None = None,
    masks: Path | None = None,
    label_offset: int = 0,
) -> Dataset:
    """Open the data set ``spec`` for a model with these inputs; nothing is decoded yet.

    ====================================  ================================================
    ``images/``                           images without labels
    ``images/``, ``masks=masks/``         a mask [H, W] as target, by the same stem
    ``train/`` with a folder per class    class numbers by sorted folder name
    ``val.csv``                           columns ``file,label``; files relative to the CSV
    ``annotations.json``, ``images=``     COCO: a ``CocoTarget``
    ``x.npy``, ``xy.npz``                 arrays named as the inputs (or ``x``), labels ``y``
    ``module:function``                   yields ``({name: array}, target)``; imports the module
    ====================================  ================================================

    Args:
        spec: what the user named.
        inputs: the model's inputs; axis 0 is the batch.
        preprocess: the steps for images, and mean and scale for integer arrays. Without it images get
            ``Preprocess.default_for(input)``; look at ``dataset.preprocess.guessed`` and warn.
        images: the folder of a COCO file's images.
        masks: the folder of an image folder's masks.
        label_offset: added to every class number (not to boxes and masks).

    Raises:
        DataError: missing, empty, of no known form, or it does not fit the model; says where and what to do.
    """
    try:
        return _open(str(spec), Path(spec), inputs, preprocess, images, masks, label_offset)
    except OSError as error:  # no permission, or a name longer than any file's
        raise DataError(f"cannot be opened: {error.strerror or error}", where=str(spec)[:200]) from error


def _open(
    text: str,
    path: Path,
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess | None,
    images: Path | None,
    masks: Path | None,
    label_offset: int,
) -> Dataset:
    if is_reference(text) and not path.exists():
        _refuse(text, images=images, masks=masks)
        return open_user(text, inputs, preprocess, label_offset)
    if not path.exists():
        raise DataError("does not exist", where=text, fix=f"give {_FORMS}")
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".npy", ".npz"):
        _refuse(text, images=images, masks=masks)
        opener = open_npy if suffix == ".npy" else open_npz
        return opener(path, inputs, preprocess, label_offset)

    categories: tuple[Category, ...] = ()
    notes: tuple[str, ...] = ()
    entries: tuple[ImageEntry, ...]
    if path.is_dir() and masks is not None:
        _refuse(text, images=images)
        entries, notes = list_masked(path, masks)
    elif path.is_dir():
        _refuse(text, images=images)
        entries, categories = list_folder(path)
    elif path.is_file() and suffix == ".csv":
        _refuse(text, images=images, masks=masks)
        entries = list_csv(path)
    elif path.is_file() and suffix == ".json":
        _refuse(text, masks=masks)
        if images is None:
            raise DataError("a COCO file needs its images", where=text, fix="give --images DIR")
        entries, categories = list_coco(path, images)
    else:
        raise DataError("is no data set of a known form", where=text, fix=f"give {_FORMS}")
    image_spec, steps = image_input(inputs, preprocess, where=text)
    # Path.name of "." or "images/.." is empty or misleading.
    name = path.resolve().name
    return ImageDataset(name, entries, image_spec, steps, label_offset, categories, notes)


def _refuse(spec: str, *, images: Path | None = None, masks: Path | None = None) -> None:
    """An option that would have no effect is a misunderstanding, and is said."""
    if images is not None:
        raise DataError("--images belongs to a COCO annotations.json", where=spec, fix="leave it out")
    if masks is not None:
        raise DataError("--masks belongs to a folder of images", where=spec, fix="leave it out")
