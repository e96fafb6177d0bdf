"""Layers that move numbers and compute none: reshaping, joining, cutting, permuting, padding, repeating."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site

_MOST = (1 << 31) - 1
_MOST_JOINED = 1 << 24


def reshape(at: Site) -> ir.Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: the shape is what the layer declares, whatever says so to it."""
    if math.prod(at.shape) != math.prod(at.out):
        raise at.fail(f"{list(at.shape)} does not become {list(at.out)}")
    return at.reshaped(at.x, at.out)


def concat(at: Site) -> ir.Value:
    """All inputs one after the other along an axis; those known before the network runs, such as priors, at once."""
    at.need(1)
    axis, arrays = at.axis(default=1), [value.const_value for value in at.inputs]
    known = [array.numpy() for array in arrays if array is not None]
    if len(known) < len(arrays) or sum(array.size for array in known) > _MOST_JOINED:
        return at.op("Concat", *at.inputs, axis=axis)
    try:
        return at.const("joined", np.concatenate(known, axis))
    except ValueError as error:
        raise at.fail(f"its inputs of {[list(shape) for shape in at.shapes][:8]} cannot be joined") from error


def split(at: Site) -> Sequence[ir.Value]:
    """Split and Slice: parts along an axis, as large as the outputs declare."""
    axis = at.axis(default=1)
    if any(len(port.dims) != len(at.shape) for port in at.layer.outputs):
        raise at.fail("its outputs have other axes than its input")
    sizes = [port.dims[axis] for port in at.layer.outputs]
    if sum(sizes) != at.shape[axis]:
        raise at.fail(f"its parts of {sizes} are not {at.shape[axis]} together")
    return at.tape.op_multi_out("Split", [at.x, at.indices("sizes", sizes)], {"axis": axis}, num_outputs=len(sizes))


def permute(at: Site) -> ir.Value:
    """Axes in another order: "0,2,3,1" makes [N, C, H, W] to [N, H, W, C]."""
    order = at.ints("order")
    if sorted(order) != list(range(len(at.shape))):
        raise at.fail(f"order {order[:8]} is none of {len(at.shape)} axes")
    return at.op("Transpose", at.x, perm=order)


def crop(at: Site) -> ir.Value:
    """From an offset on, as much as the output declares; the other end may be given, or a second input's shape."""
    axes = [axis % len(at.shape) for axis in at.ints("axis", [1])]
    begins = at.ints("crop_begin") if "crop_begin" in at.layer.data else at.ints("offset")
    if len(begins) == 1:
        begins = begins * len(axes)
    if len(begins) != len(axes) or len(at.out) != len(at.shape):
        raise at.fail(f"{len(begins)} offsets for {len(axes)} axes")
    ends = [begin + at.out[axis] for begin, axis in zip(begins, axes, strict=True)]
    if min(begins) < 0 or any(end > at.shape[axis] for end, axis in zip(ends, axes, strict=True)):
        raise at.fail(f"it cuts {list(at.out)} at {begins} out of {list(at.shape)}")
    return at.op("Slice", at.x, at.indices("begins", begins), at.indices("ends", ends), at.indices("axes", axes))


def pad(at: Site) -> ir.Value:
    """More numbers on each side: a constant, the edge, or the input mirrored at it."""
    modes = {"constant": "constant", "edge": "edge", "reflect": "reflect"}
    mode, begins, ends = at.text("pad_mode", "constant").lower(), at.ints("pads_begin"), at.ints("pads_end")
    if mode not in modes:
        raise at.fail(f"pad_mode '{mode[:40]}' has no counterpart in ONNX", "pad the data beforehand")
    if not len(begins) == len(ends) == len(at.shape) or min(*begins, *ends) < 0:
        raise at.fail(f"pads {begins} and {ends} do not fit {list(at.shape)}")
    pads = at.indices("pads", [*begins, *ends])
    return at.op("Pad", at.x, pads, at.numbers("value", at.real("pad_value", 0.0)), mode=modes[mode])


def tile(at: Site) -> ir.Value:
    """Copies along an axis."""
    repeats = [1] * len(at.shape)
    axis, tiles = at.axis(), at.whole("tiles")
    if tiles < 1:
        raise at.fail(f"{tiles} tiles")
    repeats[axis] = tiles
    return at.op("Tile", at.x, at.indices("repeats", repeats))


def strided_slice(at: Site) -> ir.Value:
    """x[begin:end:stride, …] with constant bounds; a mask bit of 0 leaves a bound out.

    Axes that a bit of ``shrink_axis_mask`` drops and that one of ``new_axis_mask`` adds come with the declared shape.
    """
    if any(at.ints("ellipsis_mask", [0])):
        raise at.fail("an ellipsis in a StridedSlice is unknown to fewbits", "write the axes out")
    begins, ends = (at.constant(index).reshape(-1).astype(np.int64).tolist() for index in (1, 2))
    steps = at.constant(3).reshape(-1).astype(np.int64).tolist() if len(at.inputs) > 3 else [1] * len(begins)
    if not len(begins) == len(ends) == len(steps):
        raise at.fail(f"{len(begins)} begins, {len(ends)} ends and {len(steps)} strides")
    keys = ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask")
    masks = zip(*(_mask(at, key, len(begins), default=index < 2) for index, key in enumerate(keys)), strict=True)
    bounds: list[tuple[int, int, int, int]] = []
    axis = 0
    for begin, end, step, (from_here, to_here, new, shrink) in zip(begins, ends, steps, masks, strict=True):
        if new:
            continue
        if axis >= len(at.shape) or step == 0:
            raise at.fail(f"its bounds do not fit {list(at.shape)}")
        first = begin if from_here or shrink else (0 if step > 0 else _MOST)
        last = (begin + 1 or _MOST) if shrink else end if to_here else (_MOST if step > 0 else -_MOST)
        bounds.append((first, last, axis, 1 if shrink else step))
        axis += 1
    columns = zip(("begins", "ends", "axes", "steps"), zip(*bounds, strict=True), strict=False)
    y = at.op("Slice", at.x, *(at.indices(kind, column) for kind, column in columns)) if bounds else at.x
    return at.reshaped(y, at.out)


def _mask(at: Site, key: str, length: int, *, default: bool) -> list[bool]:
    found = [bool(bit) for bit in at.ints(key, [int(default)] * length)]
    return found[:length] + [default] * (length - len(found))


def depth_to_space(at: Site) -> ir.Value:
    """Blocks of channels become blocks of space, the block's place before the channel."""
    return at.op("DepthToSpace", at.x, blocksize=at.whole("block_size", 1), mode="DCR")


def shuffle_channels(at: Site) -> ir.Value:
    """[N, g, C/g, H, W] → [N, C/g, g, H, W]."""
    axis, group = at.axis(default=1), at.whole("group", 1)
    size, before, after = at.shape[axis], at.shape[:axis], at.shape[axis + 1 :]
    if group < 1 or size % group:
        raise at.fail(f"{group} groups do not divide {size} channels")
    order = list(range(len(at.shape) + 1))
    order[axis], order[axis + 1] = axis + 1, axis
    cut = at.reshaped(at.x, [*before, group, size // group, *after])
    return at.reshaped(at.op("Transpose", cut, perm=order), at.shape)
