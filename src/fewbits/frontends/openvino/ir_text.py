"""The text of an OpenVINO IR, read once before OpenVINO reads it: version, weights inside their file, no circles."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.parsers import expat

from fewbits.errors import ModelError
from fewbits.frontends.openvino.wire import WireError, check_acyclic

VERSIONS: Final = (10, 11)
_MOST_TEXT: Final = 256 * 1024**2
_MOST_NESTED: Final = 64
_MOST_ELEMENTS: Final = 20_000_000


def check_ir(path: Path) -> str:
    """Refuse a text that is no IR of version 10 or 11, or whose weights do not lie in the .bin beside it.

    Returns:
        The phrase ``OpenVINO IR v11``.

    Raises:
        ModelError: see above.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ModelError("this is a folder, not a model file", where=str(path), fix="name the .xml file in it")
    if path.stat().st_size > _MOST_TEXT:
        raise ModelError(f"the model's text is larger than {_MOST_TEXT >> 20} MiB", where=str(path))
    text = _Text()
    try:
        with path.open("rb") as file:
            text.read(file)
        check_acyclic(text.edges)
    except expat.ExpatError as error:
        raise ModelError(f"not XML, or cut off: {error}", where=str(path), fix="export it again") from error
    except WireError as error:
        raise ModelError(str(error), where=str(path), fix="export it again") from error
    if text.version not in VERSIONS:
        raise ModelError(
            "not an OpenVINO IR" if text.version is None else f"IR version {text.version}, not 10 or 11",
            where=str(path),
            fix="export it with OpenVINO 2020.4 or later",
        )
    _check_weights(path, text.weights_end)
    return f"OpenVINO IR v{text.version}"


def _check_weights(path: Path, end: int) -> None:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        if end:
            raise ModelError(
                f"the weights file {weights.name} is missing", where=str(path), fix="put it beside the model"
            )
        return
    if weights.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise ModelError(
            f"{weights.name} points outside the model's folder", where=str(path), fix="copy it beside the model"
        )
    size = weights.stat().st_size
    if end > size:
        raise ModelError(
            f"{weights.name} is cut off: it has {size} bytes, the model asks for {end}",
            where=str(path),
            fix="copy or export it again",
        )


class _Text:
    """Collects, while expat reads: the version, where the last weights end, who reads whom."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.weights_end = 0
        self.edges: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._count = 0

    def read(self, file: object) -> None:
        parser = expat.ParserCreate()
        # No entity is ever read: without a document type there are none to expand.
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _: self._open.pop()
        parser.ParseFile(file)  # type: ignore[arg-type]

    def _doctype(self, *_: object) -> None:
        raise WireError("the text declares a document type, which an IR never does")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS or len(self._open) >= _MOST_NESTED:
            raise WireError("the text is nested or long beyond any model's")
        if not self._open and tag == "net":
            self.version = _number(attributes.get("version", "0"))
        elif tag == "data" and {"offset", "size"} <= set(attributes):  # PriorBox has an offset of another kind
            self._weights(attributes)
        elif self._open == ["net", "layers"] and tag == "layer":
            self.edges.setdefault(attributes.get("id", ""), [])
        elif self._open == ["net", "edges"] and tag == "edge":
            self.edges.setdefault(attributes.get("to-layer", ""), []).append(attributes.get("from-layer", ""))
        self._open.append(tag)

    def _weights(self, attributes: dict[str, str]) -> None:
        offset, size = _number(attributes["offset"]), _number(attributes["size"])
        if offset < 0 or size < 0:
            raise WireError(f"weights at {offset} of {size} bytes")
        self.weights_end = max(self.weights_end, offset + size)


def _number(text: str) -> int:
    if not text.lstrip("-").isdecimal() or len(text) > 20:
        raise WireError(f"{text[:20]!r} is not a number")
    return int(text)
