"""XML under guard: no document type and so no entities, bounded size, depth and count; every element knows its line.

Expat is used directly: the tree builders on top of it forget the line, which a person wants to see in an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from fewbits.errors import ModelError

_MOST_BYTES = 1 << 26
_MOST_ELEMENTS = 500_000
_DEEPEST = 16


@dataclass(frozen=True)
class Element:
    """One element; ``text`` is all of its own text, without its children's."""

    tag: str
    attributes: Mapping[str, str]
    children: tuple[Element, ...]
    text: str
    line: int

    def each(self, tag: str) -> Iterator[Element]:
        """The children of that name."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        """The first child of that name."""
        return next(self.each(tag), None)


def parse(path: Path) -> Element:
    """Read a document.

    Returns:
        Its root.

    Raises:
        ModelError: no such file, not XML, a document type, or more than the bounds above.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"an XML of more than {_MOST_BYTES >> 20} MiB is no network description", where=str(path))
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from error
    return _Reader(path).read(content)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._open: list[tuple[str, dict[str, str], list[Element], list[str], int]] = []
        self._count = 0
        self._root: Element | None = None

    def read(self, content: bytes) -> Element:
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            what = f"not well-formed XML: {expat.ErrorString(error.code)}"
            raise ModelError(what, where=f"{self._path}:{error.lineno}", fix="fetch the file again") from error
        except (ValueError, LookupError) as error:  # an encoding that Python does not know
            raise ModelError(f"not readable XML: {error}", where=str(self._path), fix="save it as UTF-8") from error
        assert self._root is not None
        return self._root

    def _fail(self, what: str, fix: str) -> ModelError:
        return ModelError(what, where=f"{self._path}:{self._parser.CurrentLineNumber}", fix=fix)

    def _refuse_doctype(self, *_: object) -> None:
        raise self._fail("it declares a document type, which no IR has", "remove the DOCTYPE")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS or len(self._open) >= _DEEPEST:
            raise self._fail(
                f"more than {_MOST_ELEMENTS} elements, or nested deeper than {_DEEPEST}", "this is no network"
            )
        self._open.append((tag, attributes, [], [], self._parser.CurrentLineNumber))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1][3].append(text)

    def _end(self, _: str) -> None:
        tag, attributes, children, text, line = self._open.pop()
        element = Element(tag, attributes, tuple(children), "".join(text).strip(), line)
        if self._open:
            self._open[-1][2].append(element)
        else:
            self._root = element
