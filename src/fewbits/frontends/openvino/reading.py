"""A file handed to OpenVINO's reader, after what can be checked without it has been checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewbits.errors import ModelError
from fewbits.files import check_name
from fewbits.frontends.openvino.files import check
from fewbits.libraries import openvino, openvino_sentence


def read(path: Path) -> tuple[Any, str]:
    """The ``openvino.Model`` and a phrase that says what it was read from.

    Raises:
        ModelError: no such file, not the file its name says, or one that OpenVINO refuses.
    """
    check_name(path)
    if not path.exists():
        raise ModelError("no such file", where=str(path), fix="check the path")
    try:
        phrase = check(path)
        return openvino().Core().read_model(str(path)), phrase
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (RuntimeError, ValueError, TypeError) as error:
        sentence = openvino_sentence(error)
        raise ModelError(f"OpenVINO cannot read it: {sentence}", where=str(path), fix="export it again") from error
