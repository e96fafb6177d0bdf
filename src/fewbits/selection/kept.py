"""Records kept beside a run's results as JSON: written whole, read back checked."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from fewbits.errors import InputError
from fewbits.files import write_text

Record = TypeVar("Record")


def write_record(path: Path, kind: type[Record], record: Record) -> None:
    """Write a record; raises ``OutputError`` where it cannot be written."""
    write_text(path, TypeAdapter(kind).dump_json(record, indent=1).decode() + "\n")


def read_record(path: Path, kind: type[Record], *, damaged: str, fix: str) -> Record | None:
    """What ``write_record`` wrote, or None where there is no such file.

    Raises:
        InputError: the file is damaged, in these words.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, RecursionError, InputError) as error:
        raise InputError(damaged, where=str(path), fix=fix) from error
