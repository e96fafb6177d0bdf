"""Typed reading of a message's fields: every value checked, every error with its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fewbits.errors import ModelError
from fewbits.frontends.caffe.text import Field, Message

T = TypeVar("T")
_LARGEST = (1 << 31) - 1
_LARGEST_FLOAT = 3.4028235e38
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class Parameters:
    """One message (empty where the file gives none) and the place its errors name.

    All methods raise ``ModelError`` for a value of the wrong kind or out of range.
    """

    message: Message
    path: str
    owner: str

    def has(self, name: str) -> bool:
        """Whether the file gives this field."""
        return name in self.message.fields

    def integer(self, name: str, default: int, *, low: int = 0, high: int = _LARGEST) -> int:
        """One whole number between ``low`` and ``high``."""
        return self._last(self.integers(name, low=low, high=high), default)

    def integers(self, name: str, *, low: int = 0, high: int = _LARGEST) -> list[int]:
        """All whole numbers of a repeated field."""

        def read(text: str) -> int:
            number = int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
            if not low <= number <= high:
                raise ValueError(f"from {low} to {high}")
            return number

        return self._all(name, read, "a whole number")

    def number(self, name: str, default: float) -> float:
        """One number that FP32 holds."""
        return self._last(self.numbers(name), default)

    def numbers(self, name: str) -> list[float]:
        """All numbers of a repeated field, each within FP32."""

        def read(text: str) -> float:
            number = float(text[:-1] if text[-1:] in "fF" and text[-2:-1].isdigit() else text)
            if not abs(number) <= _LARGEST_FLOAT:
                raise ValueError("not a finite FP32 number")
            return number

        return self._all(name, read, "a number")

    def truth(self, name: str, default: bool) -> bool:
        """One of true and false."""
        return self._last(self._all(name, lambda text: _TRUTH[text.lower()], "true or false"), default)

    def choice(self, name: str, among: tuple[str, ...], default: str) -> str:
        """One of the names of an enumeration; its place in ``among`` is the number it also goes by."""

        def read(text: str) -> str:
            return among[int(text)] if text.isdigit() and int(text) < len(among) else among[among.index(text)]

        return self._last(self._all(name, read, f"one of {', '.join(among)}"), default)

    def texts(self, name: str) -> list[str]:
        """All texts of a repeated field."""
        return self._all(name, str, "a text")

    def text(self, name: str, default: str = "") -> str:
        """One text."""
        return self._last(self.texts(name), default)

    def messages(self, name: str) -> list[Parameters]:
        """All messages of a repeated field."""
        found = []
        for field in self.message.fields.get(name, []):
            if isinstance(field.value, str):
                raise self.error(f"{name} is {field.value[:40]!r}, not a message in braces", field.line)
            found.append(Parameters(field.value, self.path, self.owner))
        return found

    def child(self, name: str) -> Parameters:
        """The one message of this name; an empty one where the file gives none."""
        return self._last(self.messages(name), Parameters(Message(self.message.line), self.path, self.owner))

    def error(self, what: str, line: int | None = None, *, fix: str = "") -> ModelError:
        """The error with this message's place."""
        place = f"{self.path}: line {self.message.line if line is None else line}"
        return ModelError(what, where=f"{place}, {self.owner}" if self.owner else place, fix=fix)

    def _all(self, name: str, read: Callable[[str], T], kind: str) -> list[T]:
        return [self._one(name, field, read, kind) for field in self.message.fields.get(name, [])]

    def _one(self, name: str, field: Field, read: Callable[[str], T], kind: str) -> T:
        if isinstance(field.value, Message):
            raise self.error(f"{name} holds a message, not {kind}", field.line)
        try:
            return read(field.value)
        except (ValueError, KeyError, IndexError) as error:
            bounds = f" ({error})" if str(error).startswith("from ") else ""
            raise self.error(f"{name} is {field.value[:40]!r}, not {kind}{bounds}", field.line) from error

    @staticmethod
    def _last(values: list[T], default: T) -> T:
        return values[-1] if values else default
