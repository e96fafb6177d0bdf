"""A CSV ``file,label``: images by path relative to the CSV, labels as class numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from fewbits.errors import DataError

from .confined import ConfinedFolder
from .image_dataset import ImageEntry

MAX_CSV_BYTES = 256 << 20

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def list_csv(path: Path) -> tuple[ImageEntry, ...]:
    """The images of a CSV with the columns ``file`` and ``label``; other columns are ignored.

    Raises:
        DataError: unreadable, a missing column, a label that is no whole number, a file that is missing
            or outside the CSV's folder (each with the line), or no rows.
    """
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise DataError(f"is larger than {MAX_CSV_BYTES} bytes", where=str(path))
        folder = ConfinedFolder(path.parent)
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = reader.fieldnames or []
            missing = [column for column in ("file", "label") if column not in columns]
            if missing:
                raise DataError(
                    f"no column {missing[0]!r}; the first line names {', '.join(columns) or 'nothing'}",
                    where=str(path),
                    fix="the first line must be: file,label",
                )
            entries = tuple(_entry(row, folder, f"{path}:{reader.line_num}") for row in reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"is not a readable CSV: {error}", where=str(path), fix="save it as UTF-8") from error
    if not entries:
        raise DataError("lists no files", where=str(path), fix="write one line file,label for each image")
    return entries


def _entry(row: Mapping[str, str | None], folder: ConfinedFolder, where: str) -> ImageEntry:
    name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
    if not _WHOLE_NUMBER.fullmatch(label):
        raise DataError(
            f"the label {label!r} is not a whole number", where=where, fix="labels are class numbers: 0, 1, …"
        )
    return ImageEntry(folder.find(name, where=where), name, int(label))
