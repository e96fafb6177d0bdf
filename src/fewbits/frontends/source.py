"""What a verb is given as a model: a path, and for a network without weights where they are to come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewbits.graph.files import file_bytes


@dataclass(frozen=True)
class Source:
    """A model as the person named it.

    Attributes:
        path: a file, or the folder of a SavedModel.
        weights: the ``.caffemodel`` of a ``.prototxt``.
        random_weights: draw them instead, by ``seed``: speed is real then, accuracy means nothing.
    """

    path: Path
    weights: Path | None = None
    random_weights: bool = False
    seed: int = 0

    @classmethod
    def of(cls, model: str | Path | Source) -> Source:
        """A path as the source it stands for."""
        return model if isinstance(model, Source) else cls(Path(model))

    @property
    def name(self) -> str:
        """What tells it from another one."""
        return str(self.path) if self.weights is None else f"{self.path} with {self.weights.name}"

    @property
    def files(self) -> tuple[Path, ...]:
        """What was given, by name."""
        return (self.path,) if self.weights is None else (self.path, self.weights)

    @property
    def size_bytes(self) -> int:
        """Of all files given, and of the weights that belong to them."""
        return sum(map(file_bytes, self.files))
