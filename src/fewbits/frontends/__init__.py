"""Foreign file → Model. Only here are foreign formats read; each frontend imports its framework lazily."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from fewbits.errors import ModelError
from fewbits.files import check_name


def load(path: str | Path) -> ir.Model:
    """Read a model file with the frontend its name asks for.

    Raises:
        ModelError: no such file, an unknown kind of file, or one that its frontend cannot read.
    """
    path = Path(path)
    check_name(path)
    if not path.exists():
        raise ModelError("no such file", where=str(path), fix="check the path")
    if path.suffix.lower() == ".onnx":
        from fewbits.frontends import onnx

        return onnx.load(path)
    raise ModelError(
        f"no frontend reads '{path.suffix or path.name}' files",
        where=str(path),
        fix="give an .onnx file (measure also takes OpenVINO .xml)",
    )
