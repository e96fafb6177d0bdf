"""Data sets of image files, whatever listed them: a folder, a CSV, COCO or a folder of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fewbits.errors import DataError, SampleError
from fewbits.numerics.tensors import TensorSpec

from .dataset import Dataset, hash_file
from .images import load_image, load_mask, to_mode
from .preprocess import Preprocess
from .sample import Category, CocoTarget, Sample


@dataclass(frozen=True)
class ImageEntry:
    """One image file, its name for people, and its target: a listed class number, boxes, or a mask file."""

    path: Path
    name: str
    target: int | CocoTarget | Path | None = None


@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset):
    """Image files that are decoded when they are read; ``spec`` is the model's only input."""

    name: str
    entries: tuple[ImageEntry, ...]
    spec: TensorSpec
    preprocess: Preprocess
    label_offset: int = 0
    categories: tuple[Category, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labelled", all(entry.target is not None for entry in self.entries))

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Sample:
        """Decode and preprocess one file.

        A mask is moved as its image is (nearest neighbour), so that both have the same pixels.

        Raises:
            SampleError: an unreadable or truncated image or mask, or a mask of another size.
            DataError: the image does not fit the model input.
        """
        entry = self.entries[index]
        image = load_image(entry.path, name=entry.name)
        try:
            pixels = self.preprocess.apply(image, self.spec)
        except DataError as error:
            raise type(error)(error.what, where=entry.name, fix=error.fix) from error
        if not isinstance(entry.target, Path):
            target = entry.target if isinstance(entry.target, CocoTarget) else self.label(index)
            return Sample(entry.name, {self.spec.name: pixels}, target)
        mask = load_mask(entry.target, name=f"mask {entry.target.name}")
        if mask.shape != (image.height, image.width):
            raise SampleError(
                f"the mask is {mask.shape[1]}x{mask.shape[0]}, the image {image.width}x{image.height}",
                where=entry.name,
            )
        placement = self.preprocess.place(image.height, image.width)
        return Sample(entry.name, {self.spec.name: pixels}, placement.render_mask(mask))

    def sample_name(self, index: int) -> str:
        """The path relative to the data set."""
        return self.entries[index].name

    def label(self, index: int) -> int | None:
        """The class number plus the offset; None for boxes and masks, which keep their own numbers."""
        target = self.entries[index].target
        return target + self.label_offset if isinstance(target, int) else None

    def picture(self, index: int) -> Image.Image | None:
        """The image file in RGB."""
        entry = self.entries[index]
        try:
            return to_mode(load_image(entry.path, name=entry.name), "RGB", name=entry.name)
        except SampleError:
            return None

    def _read_content_key(self, index: int) -> str:
        return hash_file(self.entries[index].path, name=self.entries[index].name)

    def _target_key(self, index: int) -> str:
        target = self.entries[index].target
        if not isinstance(target, Path):
            return repr(target)
        try:
            return hash_file(target, name=target.name)
        except SampleError:
            return "unreadable"


def image_input(
    inputs: Sequence[TensorSpec], preprocess: Preprocess | None, *, where: str
) -> tuple[TensorSpec, Preprocess]:
    """The one input images go to, and the steps (the default for it, where none are given).

    Raises:
        DataError: several inputs, an input that is no image, or steps whose result cannot fit it.
    """
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise DataError(
            f"images fill one input, but the model has {len(inputs)}: {names}",
            where=where,
            fix="give an .npz with an array for each, or module:function",
        )
    steps = preprocess or Preprocess.default_for(inputs[0])
    try:
        steps.check(inputs[0])
    except DataError as error:
        raise DataError(error.what, where=where, fix=error.fix) from error
    return inputs[0], steps
