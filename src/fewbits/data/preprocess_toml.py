"""The preprocessing file: strict TOML in, TOML out.

resize = 256            # or [240, 320], height and width
crop = 224
mean = [104.0, 117.0, 123.0]
channels = "bgr"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fewbits.errors import DataError

MAX_TOML_BYTES = 1 << 20

Number = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0)]
PixelPair = Annotated[list[Pixels], Field(min_length=2, max_length=2)]


class _PreprocessFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    resize: Pixels | PixelPair | None = None
    crop: Pixels | PixelPair | None = None
    fit: Literal["short-side", "stretch", "letterbox"] = "short-side"
    mean: Number | list[Number] = 0.0
    scale: Number | list[Number] = 1.0
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    pad: Annotated[int, Field(ge=0, le=255)] = 114


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a preprocessing file, lists as tuples.

    Raises:
        DataError: unreadable, not TOML, an unknown key (it is named) or a wrong value.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if len(raw) > MAX_TOML_BYTES:
        raise DataError("is larger than 1 MiB, so it is no preprocessing file", where=str(path))
    try:
        table = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"is not TOML: {error}", where=str(path), fix="write it as key = value lines") from error
    try:
        fields: dict[str, Any] = _PreprocessFile.model_validate(table).model_dump()
    except ValidationError as error:
        raise DataError(_explain(error), where=str(path), fix=f"the keys are {_key_list()}") from error
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def write_fields(fields: Mapping[str, Any]) -> str:
    """TOML text of the fields; a field that is None is left out."""
    return "".join(f"{key} = {_literal(value)}\n" for key, value in fields.items() if value is not None)


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = str(first["loc"][0])
    return f"unknown key {key!r}" if first["type"] == "extra_forbidden" else f"{key}: {first['msg']}"


def _key_list() -> str:
    return ", ".join(_PreprocessFile.model_fields)
