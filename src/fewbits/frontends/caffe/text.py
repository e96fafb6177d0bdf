"""Protocol-buffer text (``.prototxt``) → messages that know their lines.

Caffe's own reader takes any field of a compiled schema; here a file is read as it stands, and what a field may hold is
checked where it is used (``parameters.py``), so that the error names the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fewbits.errors import ModelError
from fewbits.files import check_name

# The longest published file has 5000 lines and 20 000 tokens; inputs far beyond are refused before they cost memory.
_MOST_BYTES = 1 << 25
_MOST_TOKENS = 500_000
_DEEPEST = 16
_CLOSING = {"{": "}", "<": ">"}
_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff]+|\#.*)
      | (?P<word>[A-Za-z_0-9.+-]+)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>[{}<>\[\]:,;])
      | (?P<wrong>.)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Message:
    """The fields between two braces, in order; ``line`` is where it opens."""

    line: int
    fields: dict[str, list[Field]] = field(default_factory=dict)


@dataclass(frozen=True)
class Field:
    """One occurrence of a field: a word, a quoted text or a message."""

    value: str | Message
    line: int
    quoted: bool = False


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def read(path: Path) -> Message:
    """Read a prototxt.

    Raises:
        ModelError: no such file, no text, a syntax error (with its line), or a file of absurd size or depth.
    """
    check_name(path)
    if not path.is_file():
        raise ModelError("no such file", where=str(path), fix="check the path")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(
                f"a description of more than {_MOST_BYTES >> 20} MiB is no network description",
                where=str(path),
                fix="give the .prototxt; weights go into a .caffemodel",
            )
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        return _Parser(content.decode(), path).run()
    except UnicodeDecodeError as error:
        raise ModelError(
            f"not a text file (byte {error.start})",
            where=str(path),
            fix="give the .prototxt here and the .caffemodel as its weights",
        ) from error


class _Parser:
    """``fields = { name [":"] value [","|";"] }``, ``value = word | text+ | "{" fields "}" | "[" values "]"``."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.tokens = self._tokens(text)
        self.next: _Token | None = next(self.tokens, None)
        self.line = 1

    def run(self) -> Message:
        """The whole file as one message."""
        whole = Message(1)
        open_messages: list[tuple[Message, str]] = [(whole, "")]
        while (token := self._take()) is not None:
            message, closing = open_messages[-1]
            if closing and token.text == closing and token.kind == "sign":
                open_messages.pop()
                self._skip(",;")
                continue
            if token.kind != "word" or not (token.text[0].isalpha() or token.text[0] == "_"):
                raise self._error(f"expected the name of a field, found {token.text[:40]!r}", token.line)
            colon = self._skip(":")
            values = message.fields.setdefault(token.text, [])
            if opened := self._message(values):
                open_messages.append(opened)
                if len(open_messages) > _DEEPEST:
                    raise self._error(f"messages lie more than {_DEEPEST} deep in each other", token.line)
                continue
            if not colon:
                raise self._error(f"after '{token.text[:40]}' comes ':' or '{{'", token.line)
            values.extend(self._list() if self._skip("[") else [self._value()])
            self._skip(",;")
        if len(open_messages) > 1:
            raise self._error(
                f"the file ends inside a message opened in line {open_messages[-1][0].line}",
                self.line,
                "the file may be cut off: fetch it again",
            )
        return whole

    def _message(self, values: list[Field]) -> tuple[Message, str] | None:
        for opening, closing in _CLOSING.items():
            if self._skip(opening):
                made = Message(self.line)
                values.append(Field(made, self.line))
                return made, closing
        return None

    def _list(self) -> Iterator[Field]:
        if self._skip("]"):
            return
        while True:
            yield self._value()
            if self._skip("]"):
                return
            if not self._skip(","):
                raise self._error("a list goes on with ',' or ends with ']'", self.line)

    def _value(self) -> Field:
        token = self._take()
        if token is None or token.kind not in ("word", "text"):
            raise self._error("a value is missing", token.line if token else self.line)
        if token.kind == "word":
            return Field(token.text, token.line)
        text = _unquoted(token)
        while self.next is not None and self.next.kind == "text":  # adjacent texts are one
            text += _unquoted(self.next)
            self._take()
        return Field(text, token.line, quoted=True)

    def _take(self) -> _Token | None:
        token, self.next = self.next, next(self.tokens, None)
        if token is not None:
            self.line = token.line
        return token

    def _skip(self, signs: str) -> bool:
        if self.next is None or self.next.kind != "sign" or self.next.text not in signs:
            return False
        self._take()
        return True

    def _tokens(self, text: str) -> Iterator[_Token]:
        count = 0
        for line, content in enumerate(text.split("\n"), 1):
            for match in _TOKEN.finditer(content):
                if match.lastgroup == "space":
                    continue
                count += 1
                if count > _MOST_TOKENS:
                    raise self._error(f"more than {_MOST_TOKENS} words are no network description", line)
                if match.lastgroup == "wrong":
                    raise self._error(f"unexpected character {match[0]!r}", line)
                yield _Token(str(match.lastgroup), match[0], line)

    def _error(self, what: str, line: int, fix: str = "") -> ModelError:
        return ModelError(what, where=f"{self.path}: line {line}", fix=fix)


def _unquoted(token: _Token) -> str:
    return _ESCAPE.sub(r"\1", token.text[1:-1])
