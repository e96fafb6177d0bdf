"""The window that convolutions and poolings slide: kernel, strides, dilations and padding, in every spelling.

Versions 3 and later write ``kernel="3,3"`` (y before x); version 2 wrote ``kernel-y="3" kernel-x="3"``, with ``pad-y``,
``pad-x`` at the beginning and ``pad-b``, ``pad-r`` at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewbits.frontends.legacy_ir.site import Site

_OLD = {
    "kernel": ("kernel-y", "kernel-x"),
    "strides": ("stride-y", "stride-x"),
    "dilations": ("dilation-y", "dilation-x"),
    "pads_begin": ("pad-y", "pad-x"),
    "pads_end": ("pad-b", "pad-r"),
}
_MOST_PADDING = 1 << 16


@dataclass(frozen=True)
class Window:
    """One number for each spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """All begins, then all ends, as ONNX wants them."""
        return [*self.begins, *self.ends]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far the kernel reaches with its dilations: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel, strict=True))

    def floors(self, sizes: Sequence[int]) -> list[int]:
        """How often the window fits: floor((size + pads - extent) / stride) + 1."""
        parts = zip(sizes, self.begins, self.ends, self.extents, self.strides, strict=True)
        return [(size + begin + end - extent) // stride + 1 for size, begin, end, extent, stride in parts]


def window(at: Site, *, transposed: bool = False) -> Window:
    """Read the window of a layer.

    ``auto_pad`` wins over written padding; ``same_upper`` puts the odd one at the end, as everywhere (the catalog of
    layers says the contrary for convolutions). A transposed convolution is padded so that it gives what it declares.

    Raises:
        ModelError: numbers that are missing, too many, or out of bounds.
    """
    sizes = at.shape[2:]
    rank = len(sizes)
    kernel = _spatial(at, "kernel", rank, None, 1)
    # Stride 0 was read as 1.
    strides = tuple(max(stride, 1) for stride in _spatial(at, "strides", rank, 1, 0))
    dilations = _spatial(at, "dilations", rank, 1, 1)
    begins = _spatial(at, "pads_begin", rank, 0, 0)
    ends = _spatial(at, "pads_end", rank, begins if "pad-y" in at.layer.data else 0, 0)
    found = Window(kernel, strides, dilations, begins, ends)
    mode = at.text("auto_pad", "").lower()
    if mode in ("", "explicit", "none"):
        return found
    if mode == "valid":
        return Window(kernel, strides, dilations, (0,) * rank, (0,) * rank)
    if mode not in ("same_upper", "same_lower"):
        raise at.fail(f"auto_pad '{mode[:40]}' is unknown")
    large, small = (at.out[2:], sizes) if transposed else (sizes, at.out[2:])
    parts = zip(large, small, strides, found.extents, strict=True)
    totals = [max((fewer - 1) * stride + extent - more, 0) for more, fewer, stride, extent in parts]
    halves, rests = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    first, last = (halves, rests) if mode == "same_upper" else (rests, halves)
    return Window(kernel, strides, dilations, first, last)


def _spatial(at: Site, key: str, rank: int, default: int | tuple[int, ...] | None, least: int) -> tuple[int, ...]:
    filled = [default] * rank if isinstance(default, int) else default
    old = _OLD[key]
    if rank == 2 and key not in at.layer.data and any(name in at.layer.data for name in old):
        found = [at.whole(name, None if filled is None else filled[i]) for i, name in enumerate(old)]
    else:
        found = at.ints(key, filled)
    if len(found) != rank or not all(least <= number <= _MOST_PADDING for number in found):
        raise at.fail(f"attribute {key} is {found[:8]}, not {rank} numbers from {least} to {_MOST_PADDING}")
    return tuple(found)
