"""Image files, read as the untrusted bytes they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fewbits.errors import SampleError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".gif"})
# Only plain raster formats: some Pillow plugins start other programs (EPS) or read much else.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")

MAX_PIXELS = 64_000_000  # 192 MB as RGB; below Pillow's own limit, so that ours speaks first
MAX_FILE_BYTES = 256 << 20


def load_image(path: Path, *, name: str) -> Image.Image:
    """The whole image in memory, in its own mode; EXIF orientation is not applied (as in training code).

    Raises:
        SampleError: missing, truncated, not an image, or too large; names ``name``.
    """
    # Training code often switches this on for the whole process; a half-grey image must not pass here.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with path.open("rb") as stream:
            size_bytes = os.fstat(stream.fileno()).st_size
            if size_bytes > MAX_FILE_BYTES:
                raise SampleError(f"the file has {size_bytes} bytes, more than {MAX_FILE_BYTES}", where=name)
            with Image.open(stream, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise SampleError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}", where=name)
                image.load()
                return image
    except SampleError:
        raise
    except UnidentifiedImageError as error:
        raise SampleError("is not an image of a known format", where=name) from error
    except Exception as error:  # broken files make Pillow raise nearly anything: SyntaxError, struct.error …
        raise SampleError(f"cannot be read as an image: {error}", where=name) from error


def to_mode(image: Image.Image, mode: str, *, name: str = "") -> Image.Image:
    """The image as ``"RGB"`` or ``"L"``, 8 bits a channel; transparency is dropped, 16 bits lose the low 8.

    Raises:
        SampleError: 32-bit pixels, whose range nobody knows.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):  # Pillow would clip these at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise SampleError(f"has 32-bit pixels (mode {image.mode}); 8 or 16 bits are wanted", where=name)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def load_mask(path: Path, *, name: str) -> NDArray[Any]:
    """Class numbers per pixel [H, W]: uint8, uint16 or int32; a palette image gives its indices.

    Raises:
        SampleError: unreadable, or it has colours instead of class numbers.
    """
    image = load_image(path, name=name)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "P", "I") or image.mode.startswith("I;16"):
        return np.asarray(image)
    raise SampleError(
        f"the mask has colours (mode {image.mode})", where=name, fix="one channel of class numbers is wanted"
    )
