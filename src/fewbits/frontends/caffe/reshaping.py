"""Layers that move numbers without computing: Reshape, Flatten, Permute, Crop, ShuffleChannel, Tile."""

from __future__ import annotations

import math

import onnx_ir as ir

from fewbits.frontends.caffe.step import Step

_MOST_TILES = 1 << 20


def reshape(step: Step) -> list[ir.Value]:
    """The axes from ``axis`` on, ``num_axes`` of them, take the given sizes: 0 keeps one, -1 takes the rest."""
    params, old = step.params, step.sizes(step.x)
    rank = len(old)
    axis = params.integer("axis", 0, low=-rank - 1, high=rank)
    axis = axis + rank + 1 if axis < 0 else axis
    count = params.integer("num_axes", -1, low=-1)
    end = rank if count == -1 else axis + count
    wanted = params.child("shape").integers("dim", low=-1)
    if end > rank or wanted.count(-1) > 1:
        raise step.error(
            f"{wanted} from axis {axis} to {end} of {list(old)}", fix="use one -1 at most, and axes there are"
        )
    new = [*old[:axis], *wanted, *old[end:]]
    for index, size in enumerate(wanted, axis):
        if size == 0:
            if index >= rank:
                raise step.error(f"the 0 at axis {index} has no size to keep in {list(old)}")
            new[index] = old[index]
    if 0 in old and new[:1] != [0]:
        step.mixes_samples(f"gives its batch a size of its own ({wanted})")
    kept = int(bool(new) and bool(old) and new[0] == old[0])
    if -1 in new:
        known, total = math.prod(size for size in new[kept:] if size != -1), math.prod(old[kept:])
        if not known or total % known:
            raise step.error(f"{list(old)} cannot be given the shape {new}", fix="correct the shape")
        new[new.index(-1)] = total // known
    return [step.reshape(step.x, new)]


def flatten(step: Step) -> list[ir.Value]:
    """The axes from ``axis`` to ``end_axis`` become one."""
    old, first, last = step.sizes(step.x), step.axis(1), step.axis(-1, name="end_axis")
    if first > last:
        raise step.error(f"end_axis {last} lies before axis {first}")
    if first == 0 and last > 0:
        step.mixes_samples("flattens the batch")
    if first == 1 and last == len(old) - 1 and step.x.const_value is None:
        return [step.op("Flatten", [step.x], {"axis": 1}) if last > 1 else step.x]
    return [step.reshape(step.x, [*old[:first], math.prod(old[first : last + 1]), *old[last + 1 :]])]


def permute(step: Step) -> list[ir.Value]:
    """The axes in another order; those that are not named follow in theirs."""
    rank = len(step.sizes(step.x))
    order = step.params.integers("order", high=rank - 1)
    if len(set(order)) != len(order):
        raise step.error(f"order {order} names an axis twice")
    order += [axis for axis in range(rank) if axis not in order]
    if order[0] != 0:
        step.mixes_samples("moves the batch to another axis")
    if order == sorted(order):
        return [step.x]
    return [step.op("Transpose", [step.x], {"perm": order})]


def crop(step: Step) -> list[ir.Value]:
    """The first bottom cut to the second's size on the axes from ``axis`` on, starting at the offsets."""
    if len(step.inputs) != 2:
        raise step.error(
            f"it has {len(step.inputs)} bottoms", fix="give the blob to cut and the one of the size wanted"
        )
    old, like, axis = step.sizes(step.x), step.sizes(step.inputs[1]), step.axis(2)
    if len(like) != len(old):
        raise step.error(f"it cuts {list(old)} to {list(like)}, which has other axes")
    if axis == 0:
        step.mixes_samples("cuts the batch")
    axes = list(range(axis, len(old)))
    given = step.params.integers("offset") or [0]
    if len(given) not in (1, len(axes)):
        raise step.error(f"{len(given)} offsets for {len(axes)} axes", fix="give one, or one an axis")
    starts = given * len(axes) if len(given) == 1 else given
    ends = [start + like[at] for start, at in zip(starts, axes, strict=True)]
    if any(end > old[at] for end, at in zip(ends, axes, strict=True)):
        raise step.error(f"it cuts {list(like)} at {starts} out of {list(old)}, which is too small")
    bounds = [step.indices(values, part) for values, part in ((starts, "starts"), (ends, "ends"), (axes, "axes"))]
    return [step.op("Slice", [step.x, *bounds])]


def shuffle_channels(step: Step) -> list[ir.Value]:
    """[N, g * c, ...] seen as [N, g, c, ...] → [N, c, g, ...] → flat again."""
    old, group = step.sizes(step.x), step.params.integer("group", 1, low=1)
    if len(old) < 2 or old[1] % group:
        raise step.error(f"{group} groups do not divide the channels of {list(old)}")
    if group == 1:
        return [step.x]
    grouped = step.reshape(step.x, [old[0], group, old[1] // group, *old[2:]], "groups")
    turned = step.op("Transpose", [grouped], {"perm": [0, 2, 1, *range(3, len(old) + 1)]}, "turned")
    return [step.reshape(turned, old)]


def tile(step: Step) -> list[ir.Value]:
    """The blob repeated along an axis."""
    axis, rank = step.axis(1), len(step.sizes(step.x))
    tiles = step.params.integer("tiles", 1, low=1, high=_MOST_TILES)
    if axis == 0:
        step.mixes_samples("repeats the batch")
    repeats = [tiles if at == axis else 1 for at in range(rank)]
    return [step.op("Tile", [step.x, step.indices(repeats, "repeats")])]
