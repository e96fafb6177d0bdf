"""Where an image lands on the model's input: resize, crop and pad as one record of whole pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewbits.errors import DataError, SampleError

from .images import MAX_PIXELS

Size = tuple[int, int]  # (height, width), as in arrays
MASK_PAD = 255  # what segmentation data sets use for "no class here"


@dataclass(frozen=True)
class Placement:
    """How an image of size ``image`` becomes one of size ``fed``; all sizes are (height, width).

    The image is resized to ``resized``; of that, the window of size ``fed`` at (``top``, ``left``) is
    taken. Where the window is larger than the resized image (letterbox), the rest is padding.
    """

    image: Size
    resized: Size
    fed: Size
    top: int = 0
    left: int = 0

    def render(self, image: Image.Image, *, pad: int) -> Image.Image:
        """The fed image, bilinear with antialiasing; ``pad`` is the grey value beside a letterbox."""
        height, width = self.resized
        if self.resized != self.image:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.fed == self.resized:
            return image
        if self._pads:
            canvas = Image.new(image.mode, self.fed[::-1], pad if image.mode == "L" else (pad, pad, pad))
            canvas.paste(image, (0, 0))
            return canvas
        return image.crop((self.left, self.top, self.left + self.fed[1], self.top + self.fed[0]))

    def render_mask(self, mask: NDArray[Any]) -> NDArray[Any]:
        """A mask [H, W] of class numbers moved as the image is, by nearest neighbour; padding is 255."""
        rows, columns = (
            ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
            for new, old in zip(self.resized, self.image, strict=True)
        )
        if self._pads:
            canvas = np.full(self.fed, MASK_PAD, mask.dtype)
            canvas[: self.resized[0], : self.resized[1]] = mask[np.ix_(rows, columns)]
            return canvas
        rows = rows[self.top : self.top + self.fed[0]]
        columns = columns[self.left : self.left + self.fed[1]]
        return np.ascontiguousarray(mask[np.ix_(rows, columns)])

    def to_image(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Boxes [n, 4] (x1, y1, x2, y2) from pixels of the fed image to pixels of the image file."""
        offset = np.array([self.left, self.top] * 2, np.float64)
        stretch = [self.image[1] / self.resized[1], self.image[0] / self.resized[0]]
        return (np.asarray(boxes, np.float64) + offset) * np.array(stretch * 2, np.float64)

    @property
    def _pads(self) -> bool:
        return self.fed[0] > self.resized[0] or self.fed[1] > self.resized[1]


def place_short_side(image: Size, resize: int | None, crop: Size | None) -> Placement:
    """Short side to ``resize`` pixels, then the centre of size ``crop``; None leaves a step out.

    The long side is rounded down, as is the crop's corner: 500x375, 256 -> 341x256.

    Raises:
        DataError: the crop is larger than the image.
        SampleError: a strip so long that resizing it would fill the memory.
    """
    height, width = resized = image
    if resize is not None:
        # Whole-number arithmetic: 416 / 427 * 427 in floats is 415.99…, a pixel short.
        short = min(height, width)
        resized = (max(1, height * resize // short), max(1, width * resize // short))
    if resized[0] * resized[1] > MAX_PIXELS:  # a 1x60000 strip would become 256x15360000
        raise SampleError(
            f"an image of {height}x{width} (height x width) resized to a short side of {resize} would have "
            f"more than {MAX_PIXELS} pixels"
        )
    return place_crop(image, resized, crop)


def place_crop(image: Size, resized: Size, crop: Size | None) -> Placement:
    """The centre of size ``crop`` of an image that was resized; raises DataError where it is too small."""
    if crop is None:
        return Placement(image, resized, resized)
    if crop[0] > resized[0] or crop[1] > resized[1]:
        raise DataError(
            f"the crop {crop[0]}x{crop[1]} is larger than the image, which is {resized[0]}x{resized[1]} "
            "(height x width) after resizing",
            fix=f"set --resize to {max(crop)} or more",
        )
    return Placement(image, resized, crop, (resized[0] - crop[0]) // 2, (resized[1] - crop[1]) // 2)


def place_letterbox(image: Size, canvas: Size) -> Placement:
    """The whole image, as large as fits, in the top left corner of ``canvas``."""
    height, width = image
    if canvas[1] * height <= canvas[0] * width:  # the width touches the border first
        resized = (max(1, height * canvas[1] // width), canvas[1])
    else:
        resized = (canvas[0], max(1, width * canvas[0] // height))
    return Placement(image, resized, canvas)
