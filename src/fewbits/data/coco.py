"""COCO instances: ``annotations.json`` and the folder of its images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fewbits.errors import DataError

from .confined import ConfinedFolder
from .image_dataset import ImageEntry
from .sample import Box, Category, CocoTarget

MAX_JSON_BYTES = 1 << 30  # the whole of COCO train2017 has 0.45 GB


def list_coco(path: Path, images: Path) -> tuple[tuple[ImageEntry, ...], tuple[Category, ...]]:
    """All images with their boxes (none for an empty image), and the categories in the file's order.

    Raises:
        DataError: no COCO file, a broken entry (named by its place, ``annotations[3]``), an image that
            is listed but missing, or outside the folder.
    """
    try:
        return _read(_load(path), ConfinedFolder(images))
    except DataError as error:
        where = error.where if error.where.startswith(str(images)) else f"{path}: {error.where}"
        raise DataError(error.what, where=where.removesuffix(": "), fix=error.fix) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"is larger than {MAX_JSON_BYTES} bytes")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {error}") from error
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise DataError("is not a COCO instances file", fix="it holds the lists images, annotations and categories")
    return document


def _read(document: dict[str, Any], folder: ConfinedFolder) -> tuple[tuple[ImageEntry, ...], tuple[Category, ...]]:
    categories = tuple(
        Category(_whole(entry, "id", where), _text(entry, "name", where))
        for entry, where in _items(document, "categories")
    )
    known = {category.id for category in categories}
    boxes: dict[int, list[Box]] = {}
    for entry, where in _items(document, "images"):
        image_id = _whole(entry, "id", where)
        if image_id in boxes:
            raise DataError(f"the image id {image_id} is used twice", where=where)
        boxes[image_id] = []
    for entry, where in _items(document, "annotations"):
        image_id, category_id = _whole(entry, "image_id", where), _whole(entry, "category_id", where)
        if image_id not in boxes:
            raise DataError(f"image_id {image_id} is no image of this file", where=where)
        if category_id not in known:
            raise DataError(f"category_id {category_id} is no category of this file", where=where)
        boxes[image_id].append(_box(entry, category_id, where))
    entries = tuple(
        _image(entry, boxes[_whole(entry, "id", where)], folder, where) for entry, where in _items(document, "images")
    )
    if not entries:
        raise DataError("lists no images")
    return entries, categories


def _items(document: dict[str, Any], key: str) -> list[tuple[dict[str, Any], str]]:
    for index, entry in enumerate(document[key]):
        if not isinstance(entry, dict):
            raise DataError("is not an object", where=f"{key}[{index}]")
    return [(entry, f"{key}[{index}]") for index, entry in enumerate(document[key])]


def _image(entry: dict[str, Any], boxes: list[Box], folder: ConfinedFolder, where: str) -> ImageEntry:
    name = _text(entry, "file_name", where)
    target = CocoTarget(
        _whole(entry, "id", where),
        _whole(entry, "width", where),
        _whole(entry, "height", where),
        tuple(boxes),
    )
    if target.width < 1 or target.height < 1:
        raise DataError(f"the size {target.width}x{target.height} is no image's", where=where)
    return ImageEntry(folder.find(name, where=where), name, target)


def _box(entry: dict[str, Any], category_id: int, where: str) -> Box:
    bbox = entry.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise DataError("bbox is not [x, y, width, height] in pixels", where=where)
    x, y, width, height = (float(value) for value in bbox)
    area = entry.get("area", width * height)
    if width < 0 or height < 0 or not _is_number(area):
        raise DataError("the box has a negative size or no proper area", where=where)
    return Box(category_id, x, y, width, height, float(area), bool(entry.get("iscrowd", 0)))


def _is_number(value: object) -> bool:
    # 1e400 is JSON for infinity, and whole numbers of a thousand digits have no float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12 and math.isfinite(value)


def _whole(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise DataError(f"{key} is missing or no whole number", where=where)
    return value


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key} is missing or no text", where=where)
    return value
