"""Preprocessing as a frozen value: what is done to an image before the model sees it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError
from fewbits.numerics.tensors import TensorSpec

from .geometry import Placement, Size, place_crop, place_letterbox, place_short_side
from .images import MAX_PIXELS, to_mode
from .model_input import check_shape, check_values, normalize, split_axes
from .options import parse_numbers, parse_size
from .preprocess_toml import read_fields, write_fields

Channels = Literal["rgb", "bgr", "gray"]
Layout = Literal["nchw", "nhwc"]
Fit = Literal["short-side", "stretch", "letterbox"]
Pixels = int | tuple[int, int]

LARGEST = 1e12  # mean and scale beyond it (or scale below 1 / it) overflow float32; audio needs 32768


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop, colour order, ``(x - mean) / scale``, layout: applied in this order.

    Attributes:
        resize: with fit ``short-side`` the pixels of the short side; otherwise (height, width), or one
            number for a square. None leaves the size alone.
        crop: the centre, (height, width) or one number for a square. None leaves it alone.
        mean, scale: in 0..255 units, one number or one per colour in the order the model is fed
            (blue, green, red where ``channels`` is ``bgr``).
        channels: ``rgb``, ``bgr`` or ``gray``.
        layout: ``nchw`` or ``nhwc``.
        fit: ``short-side``; ``stretch`` to exactly ``resize``; ``letterbox``: as large as fits into
            ``resize``, top left, the rest filled with ``pad``.
        guessed: nobody named mean and scale (``default_for``); the caller should warn.

    Raises:
        DataError: a value that makes no sense, such as a scale of zero.
    """

    resize: Pixels | None = None
    crop: Pixels | None = None
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    channels: Channels = "rgb"
    layout: Layout = "nchw"
    fit: Fit = "short-side"
    pad: int = 114
    guessed: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            given = getattr(self, name)
            numbers = given if isinstance(given, tuple | list) else (given,)
            object.__setattr__(self, name, tuple(float(number) for number in numbers))
        self._check_choices()
        self._check_numbers()
        self._check_sizes()

    def _check_choices(self) -> None:
        for name, choices in (("channels", Channels), ("layout", Layout), ("fit", Fit)):
            known = get_args(choices)
            if getattr(self, name) not in known:
                raise DataError(f"{name} {getattr(self, name)!r} is unknown", fix=f"use {', '.join(known)}")

    def _check_numbers(self) -> None:
        for name in ("mean", "scale"):
            numbers = getattr(self, name)
            if len(numbers) not in (1, self.channel_count):
                raise DataError(
                    f"{name} has {len(numbers)} numbers for {self.channel_count} colours ({self.channels})",
                    fix="give one number, or one per colour",
                )
            if not all(abs(number) <= LARGEST for number in numbers):  # also catches NaN
                raise DataError(f"{name} {numbers} is not in 0..255 units", fix="give plain numbers")
        if min(abs(number) for number in self.scale) < 1 / LARGEST:
            raise DataError("scale is zero, and pixels are divided by it", fix="use 1 to leave them as they are")

    def _check_sizes(self) -> None:
        for name in ("resize", "crop"):
            size = getattr(self, name)
            if size is not None and (min(_pair(size)) < 1 or _pair(size)[0] * _pair(size)[1] > MAX_PIXELS):
                raise DataError(f"{name} {size} is not a size in pixels")
        if self.fit == "short-side" and isinstance(self.resize, tuple):
            raise DataError(
                "resize has two numbers, but the short side is only one",
                fix='set fit = "stretch", or give one number',
            )
        if self.fit != "short-side" and self.resize is None:
            raise DataError(f"fit {self.fit!r} needs a size", fix="set resize to the model's input size")
        if self.fit == "letterbox" and self.crop is not None:
            raise DataError("a letterbox cannot be cropped", fix="leave crop out")

    @classmethod
    def from_toml(cls, path: Path) -> Preprocess:
        """Read a preprocessing file; raises DataError for an unknown key (named) or a wrong value."""
        fields = read_fields(path)
        try:
            return cls(**fields)
        except DataError as error:
            raise DataError(error.what, where=str(path), fix=error.fix) from error

    def to_toml(self) -> str:
        """The text ``from_toml`` reads back to an equal value; ``guessed`` is not part of it."""
        names = ("resize", "crop", "fit", "mean", "scale", "channels", "layout", "pad")
        return write_fields({name: getattr(self, name) for name in names})

    @classmethod
    def from_options(
        cls,
        *,
        resize: str | None = None,
        crop: str | None = None,
        mean: str | None = None,
        scale: str | None = None,
        channels: Channels | None = None,
        layout: Layout | None = None,
        base: Preprocess | None = None,
    ) -> Preprocess:
        """Command-line texts such as ``mean="104,117,123"`` over ``base`` (a file, or ``default_for``).

        A resize with two numbers, ``"240,320"``, stretches to that height and width. The result still
        counts as guessed where the base was and neither mean nor scale is given.

        Raises:
            DataError: names the option that cannot be read or makes no sense.
        """
        changes: dict[str, Any] = {"channels": channels, "layout": layout}
        for name, text in (("resize", resize), ("crop", crop)):
            changes[name] = None if text is None else parse_size(text, option=f"--{name}")
        for name, text in (("mean", mean), ("scale", scale)):
            changes[name] = None if text is None else parse_numbers(text, option=f"--{name}")
        base = base or cls()
        if resize is not None and base.fit != "letterbox":
            changes["fit"] = "stretch" if isinstance(changes["resize"], tuple) else "short-side"
        if mean is not None or scale is not None:
            changes["guessed"] = False
        return replace(base, **{name: value for name, value in changes.items() if value is not None})

    @classmethod
    def default_for(cls, spec: TensorSpec) -> Preprocess:
        """A guess from the input's shape alone: colours, layout and size; mean 0, scale 1; ``guessed``.

        ``[N,3,224,224]`` -> RGB, NCHW, short side 224, crop 224. ``[N,240,320,3]`` -> NHWC, stretched to
        240x320. An input that is no image gets no steps, and is refused when an image is to be fed.
        """
        if len(spec.shape) != 4:
            return cls(guessed=True)
        layout: Layout = "nhwc" if spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3) else "nchw"
        colours, height, width = split_axes(spec.shape, layout)
        channels: Channels = "gray" if colours == 1 else "rgb"
        base = cls(channels=channels, layout=layout, guessed=True)
        if height is None or width is None:
            return base
        if height == width:
            return replace(base, resize=height, crop=height)
        return replace(base, resize=(height, width), fit="stretch")

    @property
    def channel_count(self) -> int:
        """1 for gray, 3 otherwise."""
        return 1 if self.channels == "gray" else 3

    def place(self, height: int, width: int) -> Placement:
        """Where an image of this size (pixels) lands; raises DataError where the crop does not fit in."""
        image = (height, width)
        crop = None if self.crop is None else _pair(self.crop)
        if self.fit == "letterbox" and self.resize is not None:
            return place_letterbox(image, _pair(self.resize))
        if self.fit == "stretch" and self.resize is not None:
            return place_crop(image, _pair(self.resize), crop)
        return place_short_side(image, self.resize if isinstance(self.resize, int) else None, crop)

    def check(self, spec: TensorSpec) -> None:
        """Whether images prepared so can fit ``spec``, as far as is known before one is read.

        Raises:
            DataError: not an image input, other colours, another size, or pixels an integer input
                cannot hold; says both shapes and the option to change.
        """
        height, width = self._fed_size()
        check_shape(self._shape(height, width), self.layout, spec)
        check_values(self.mean, self.scale, spec)

    def apply(self, image: Image.Image, spec: TensorSpec) -> NDArray[Any]:
        """One image as the model wants it: [1, C, H, W], or [1, H, W, C] for NHWC, in the input's dtype.

        Raises:
            DataError: the result does not fit the model input.
            SampleError: pixels of an unknown range (32 bits).
        """
        image = to_mode(image, "L" if self.channels == "gray" else "RGB")
        placed = self.place(image.height, image.width).render(image, pad=self.pad)
        check_shape(self._shape(placed.height, placed.width), self.layout, spec)
        pixels = np.asarray(placed).reshape(placed.height, placed.width, self.channel_count)
        if self.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        colours = (self.channel_count, 1, 1) if self.layout == "nchw" else (self.channel_count,)
        if self.layout == "nchw":
            pixels = pixels.transpose(2, 0, 1)
        return normalize(pixels, self.mean, self.scale, colours, spec.dtype)[None]

    def _fed_size(self) -> tuple[int | None, int | None]:
        """(height, width) of every prepared image; None where it depends on the image."""
        if self.crop is not None:
            return _pair(self.crop)
        return (None, None) if self.fit == "short-side" or self.resize is None else _pair(self.resize)

    def _shape(self, height: int | None, width: int | None) -> tuple[int | None, ...]:
        colours = self.channel_count
        return (1, colours, height, width) if self.layout == "nchw" else (1, height, width, colours)


def _pair(size: Pixels) -> Size:
    return size if isinstance(size, tuple) else (size, size)
