"""Moving numbers between channels, batch and places: reshapes and transposes of known sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def _rearranged(
    w: Writer, value: ir.Value, split: Sequence[int], order: Sequence[int], join: Sequence[int]
) -> ir.Value:
    return w.reshape(w.transpose(w.reshape(value, *split), order), *join)


def _shuffle(op: Operation, w: Writer) -> ir.Value:
    """[N, G*K, H, W] → [N, K*G, H, W]; the sizes in front may be one free size."""
    axis, groups, dims = int(op.attributes["axis"]) % op.rank(), int(op.attributes["group"]), op.dims(0) or ()
    size = dims[axis]
    op.refuse_unless(size is not None and None not in dims[axis:], "channels of free size")
    front = [0] * axis  # 0 keeps a size in a Reshape
    rest = [d or 0 for d in dims[axis + 1 :]]
    split = [*front, groups, (size or 0) // groups, *rest]
    order = [*range(axis), axis + 1, axis, *range(axis + 2, len(split))]
    return _rearranged(w, op.input(0), split, order, [*front, size or 0, *rest])


def _depth_to_space(op: Operation, w: Writer) -> ir.Value:
    mode = "DCR" if op.attributes["mode"] == "blocks_first" else "CRD"
    op.refuse_unless(op.rank() == 4, "ONNX takes images of two axes only")
    return w.op("DepthToSpace", op.input(0), blocksize=int(op.attributes["block_size"]), mode=mode)


def _space_to_depth(op: Operation, w: Writer) -> ir.Value:
    op.refuse_unless(op.rank() == 4, "ONNX takes images of two axes only")
    block = int(op.attributes["block_size"])
    if op.attributes["mode"] == "blocks_first":
        return w.op("SpaceToDepth", op.input(0), blocksize=block)
    _, channels, height, width = op.dims(0) or ()
    op.refuse_unless(None not in (channels, height, width), "an image of free size")
    c, h, v = channels or 0, (height or 0) // block, (width or 0) // block
    split = [0, c, h, block, v, block]
    return _rearranged(w, op.input(0), split, [0, 1, 3, 5, 2, 4], [-1, c * block * block, h, v])


def _space_to_batch(op: Operation, w: Writer) -> ir.Value:
    """Pad; [N, C, H, W] in blocks [1, 1, b, b] → [b*b*N, C, H/b, W/b]."""
    blocks, begin, end = (op.integers(index) for index in (1, 2, 3))
    value = op.input(0)
    if any(begin) or any(end):
        value = w.op("Pad", value, w.integers(*begin, *end), mode="constant")
    sizes = [size + a + b for size, a, b in zip(op.sizes(), begin, end, strict=True)]
    split = [part for size, block in zip(sizes, blocks, strict=True) for part in (size // block, block)]
    places, inner = range(0, len(split), 2), range(1, len(split), 2)
    batch = sizes[0]
    for block in blocks[1:]:
        batch *= block
    join = [batch, *(size // block for size, block in zip(sizes[1:], blocks[1:], strict=True))]
    return _rearranged(w, value, split, [*inner, *places], join)


def _batch_to_space(op: Operation, w: Writer) -> ir.Value:
    """[b*b*N, C, H, W] in blocks [1, 1, b, b] → [N, C, H*b, W*b]; crop."""
    blocks, begin, end = (op.integers(index) for index in (1, 2, 3))
    sizes, count = op.sizes(), len(blocks)
    batch = sizes[0]
    for block in blocks:
        batch //= block
    split = [*blocks, batch, *sizes[1:]]
    order = [axis for i in range(count) for axis in (count + i, i)]
    join = [batch * blocks[0], *(size * block for size, block in zip(sizes[1:], blocks[1:], strict=True))]
    value = _rearranged(w, op.input(0), split, order, join)
    for axis, (a, b) in enumerate(zip(begin, end, strict=True)):
        if a or b:
            value = w.slice(value, axis, a, join[axis] - b)
    return value


TABLE: Final[dict[str, Emit]] = {
    "BatchToSpace": _batch_to_space,
    "DepthToSpace": _depth_to_space,
    "ShuffleChannels": _shuffle,
    "SpaceToBatch": _space_to_batch,
    "SpaceToDepth": _space_to_depth,
}
