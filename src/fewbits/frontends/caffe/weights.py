"""Where a layer's blobs come from: a caffemodel, or a seeded draw."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

from fewbits.errors import ModelError
from fewbits.frontends.caffe import caffemodel, fillers
from fewbits.frontends.caffe.caffemodel import Blob
from fewbits.frontends.caffe.net import Layer
from fewbits.frontends.caffe.parameters import Parameters

# Twice the largest published network (VGG-19: 144 million).
_MOST_NUMBERS = 1 << 28


class Weights(Protocol):
    """Gives layers their blobs."""

    random: bool

    def blob(
        self, layer: Layer, index: int, shape: tuple[int, ...], filler: Parameters | None, start: float | None, m: float
    ) -> Blob:
        """Blob ``index`` of a layer, of exactly this shape.

        ``filler`` is the prototxt's rule for it; without one it starts from ``start`` everywhere, or where that is
        None from normal numbers that suit an input of mean square ``m``.

        Raises:
            ModelError: there is no such blob, or it has another shape.
        """
        ...


class Trained:
    """The blobs of a caffemodel, by layer name."""

    random = False

    def __init__(self, path: Path) -> None:
        self._blobs = caffemodel.read(path)
        self._path = path
        self._shared: dict[str, Blob] = {}
        if not self._blobs:
            raise ModelError("no weights in it", where=str(path), fix="give the .caffemodel of a trained network")

    def blob(
        self,
        layer: Layer,
        index: int,
        shape: tuple[int, ...],
        filler: Parameters | None,  # noqa: ARG002
        start: float | None,  # noqa: ARG002
        m: float,  # noqa: ARG002
    ) -> Blob:
        """The trained blob: its sizes other than 1 must be those of ``shape`` (old files pad shapes to four)."""
        common = layer.shared[index] if index < len(layer.shared) else ""
        held = self._blobs.get(layer.name, [])
        found = held[index] if index < len(held) else self._shared.get(common)
        if found is None:
            have = f"only {len(held)} blobs" if held else "no weights"
            raise ModelError(
                f"{have} for layer '{layer.name}' ({layer.type}), which needs blob {index + 1} of shape {list(shape)}",
                where=str(self._path),
                fix="give the .caffemodel that belongs to this prototxt",
            )
        if [size for size in found.shape if size != 1] != [size for size in shape if size != 1]:
            raise ModelError(
                f"blob {index + 1} of layer '{layer.name}' has shape {list(found.shape)}, "
                f"the prototxt says {list(shape)}",
                where=str(self._path),
                fix="give the .caffemodel that belongs to this prototxt",
            )
        if common:
            self._shared[common] = found
        return found.reshape(shape)


class Drawn:
    """Random blobs, the same for the same seed, layer name and shape."""

    random = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._shared: dict[str, Blob] = {}
        self._numbers = 0

    def blob(
        self, layer: Layer, index: int, shape: tuple[int, ...], filler: Parameters | None, start: float | None, m: float
    ) -> Blob:
        """A draw by the filler, or by the default for its role."""
        common = layer.shared[index] if index < len(layer.shared) else ""
        if common and common in self._shared and self._shared[common].size == math.prod(shape):
            return self._shared[common].reshape(shape)
        self._numbers += math.prod(shape)
        if self._numbers > _MOST_NUMBERS:
            raise layer.fields.error(
                f"with its weights of shape {list(shape)} the network has more than {_MOST_NUMBERS} parameters",
                fix="correct the sizes in the prototxt",
            )
        rng = np.random.default_rng([self._seed, zlib.crc32(layer.name.encode()), index])
        if filler is not None:
            made = fillers.fill(shape, filler, rng)
        elif start is not None:
            made = np.full(shape, start, np.float32)
        else:
            made = fillers.keep_spread(shape, rng, m)
        if common:
            self._shared[common] = made
        return made
