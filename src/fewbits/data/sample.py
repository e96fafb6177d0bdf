"""What one sample is: the arrays a model is fed, and what it should answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One sample, ready to be fed.

    ``inputs`` maps each model input to an array with a batch axis of 1, in the dtype and shape the model
    wants: ``{"data": float32 [1, 3, 224, 224]}``. ``target`` is a class number (label offset included), a
    ``CocoTarget``, a mask ``[H, W]`` aligned with the fed image, a row of ``y``, or None without labels.
    """

    name: str
    inputs: Mapping[str, NDArray[Any]]
    target: object | None = None


@dataclass(frozen=True)
class Category:
    """One class: its number in the labels (COCO: 1..90 with gaps) and its name."""

    id: int
    name: str


@dataclass(frozen=True)
class Box:
    """One object in an image: left, top, width, height and area in pixels of the image file."""

    category_id: int
    x: float
    y: float
    width: float
    height: float
    area: float
    crowd: bool = False


@dataclass(frozen=True)
class CocoTarget:
    """All objects of one image; ``width`` and ``height`` are the image file's, in pixels."""

    image_id: int
    width: int
    height: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be read, and the sentence that says why."""

    name: str
    reason: str


@dataclass
class BadSamples:
    """The log of unreadable samples; a sample met again in a later pass is listed once."""

    items: list[BadSample] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """Record that ``name`` could not be read because of ``reason``."""
        entry = BadSample(name, reason)
        if entry not in self.items:
            self.items.append(entry)

    def __len__(self) -> int:
        return len(self.items)

    def sentence(self, which: str) -> str:
        """What a person is told: how many samples of the ``which`` data were left out, and why the first one was."""
        first = self.items[0].reason
        return f"{len(self)} samples of the {which} data could not be read and were left out, such as {first}"
