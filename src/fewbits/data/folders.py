"""Folders of images: plain, with a folder for each class, or with a mask for each image."""

from __future__ import annotations

from pathlib import Path

from fewbits.errors import DataError

from .image_dataset import ImageEntry
from .images import IMAGE_SUFFIXES
from .sample import Category


def list_folder(root: Path) -> tuple[tuple[ImageEntry, ...], tuple[Category, ...]]:
    """The images of a folder without labels, or of class folders with the class number as target.

    Class folders are numbered 0, 1, … by sorted name, which also names the categories. Hidden files
    and folders are left out.

    Raises:
        DataError: no images, an empty class folder (it would shift all numbers after it), or images
            beside class folders.
    """
    images = list_images(root)
    folders = sorted((path for path in _visible(root) if path.is_dir()), key=lambda path: path.name)
    classes = [(folder, list_images(folder)) for folder in folders]
    if not any(files for _, files in classes):
        if not images:
            raise DataError(
                "no images here",
                where=str(root),
                fix=f"known endings are {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        return tuple(ImageEntry(path, path.name) for path in images), ()
    if images:
        raise DataError(
            f"holds images ({images[0].name}) beside folders of images, so the labels are unclear",
            where=str(root),
            fix="name the folder that is meant",
        )
    empty = [folder.name for folder, files in classes if not files]
    if empty:
        raise DataError(
            f"the class folder {empty[0]!r} has no images",
            where=str(root),
            fix="remove it or fill it: classes are numbered by sorted folder name",
        )
    entries = tuple(
        ImageEntry(path, f"{folder.name}/{path.name}", number)
        for number, (folder, files) in enumerate(classes)
        for path in files
    )
    return entries, tuple(Category(number, folder.name) for number, folder in enumerate(folders))


def list_masked(root: Path, masks: Path) -> tuple[tuple[ImageEntry, ...], tuple[str, ...]]:
    """Images with the mask of the same stem (``a.jpg``, ``a.png``), and notes on what was left out.

    Raises:
        DataError: no folder, no images, two masks for one stem, or no image with a mask.
    """
    if not masks.is_dir():
        raise DataError("is no folder of masks", where=str(masks))
    by_stem: dict[str, Path] = {}
    for path in list_images(masks):
        if path.stem in by_stem:
            raise DataError(f"{by_stem[path.stem].name} and {path.name} are masks of the same image", where=str(masks))
        by_stem[path.stem] = path
    images = list_images(root)
    if not images:
        raise DataError("no images here", where=str(root))
    entries = tuple(ImageEntry(path, path.name, by_stem[path.stem]) for path in images if path.stem in by_stem)
    if not entries:
        raise DataError(
            f"no image has a mask in {masks}", where=str(root), fix="name masks as the images: a.jpg, a.png"
        )
    without = len(images) - len(entries)
    note = f"{without} of {len(images)} images have no mask and are left out"
    return entries, (note,) if without else ()


def list_images(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name; raises DataError where it cannot be listed."""
    files = (path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(files, key=lambda path: path.name)


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror or error}", where=str(folder)) from error
