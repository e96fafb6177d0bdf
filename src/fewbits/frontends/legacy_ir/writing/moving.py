"""ONNX operators that move numbers, as layers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.frontends.legacy_ir.writing.draft import Source, Task

# Up to version 5 a Reshape had its shape as an attribute, from 6 on as a second input.
_SHAPE_AS_INPUT = 6


def reshape(task: Task) -> None:
    """Reshape, Squeeze, Unsqueeze: to the sizes of the output."""
    reshaped(task, task.value())


def reshaped(task: Task, feed: Source | ir.Value) -> None:
    """The Reshape layer that gives the node's output."""
    if task.draft.version < _SHAPE_AS_INPUT:
        task.layer("Reshape", [feed], {"dim": task.out})
    else:
        task.layer("Reshape", [feed, task.const(f"{task.name}/shape", np.array(task.out, np.int32))])


def flatten(task: Task) -> None:
    """All axes behind the batch become one."""
    if task.whole("axis", 1) != 1:
        return reshape(task)
    task.layer("Flatten", [task.value()], {"axis": 1, "end_axis": -1})
    return None


def concat(task: Task) -> None:
    """Along an axis counted from 0."""
    values = [task.value(i) for i in range(len(task.node.inputs))]
    task.layer("Concat", values, {"axis": task.whole("axis", 0) % len(task.out)})


def split(task: Task) -> None:
    """Split where the parts are equal, else Slice."""
    axis = task.whole("axis", 0) % len(task.dims())
    parts = {task.dims(value)[axis] for value in task.node.outputs}
    if len(parts) == 1:
        task.layer("Split", [task.value()], {"axis": axis, "num_split": len(task.node.outputs)})
    else:
        task.layer("Slice", [task.value()], {"axis": axis})


def transpose(task: Task) -> None:
    """The same order."""
    task.layer("Permute", [task.value()], {"order": task.ints("perm", range(len(task.dims()))[::-1])})


def cut(task: Task) -> None:
    """Crop where every number in between stays, else StridedSlice."""
    shape = task.dims()
    starts, ends = (task.constant(index).tolist() for index in (1, 2))
    axes = [a % len(shape) for a in (task.constant(3).tolist() if task.has(3) else range(len(starts)))]
    steps = task.constant(4).tolist() if task.has(4) else [1] * len(starts)
    spans = [range(*slice(*bounds).indices(shape[a])) for *bounds, a in zip(starts, ends, steps, axes, strict=True)]
    if any(step < 1 for step in steps):
        raise task.fail("a step backwards")
    if all(step == 1 for step in steps):
        offsets, lengths = [span.start for span in spans], [len(span) for span in spans]
        task.layer("Crop", [task.value()], {"axis": axes, "offset": offsets, "dim": lengths})
        return
    whole = [range(size) for size in shape]
    for axis, span in zip(axes, spans, strict=True):
        whole[axis] = span
    bounds = {"begin": [s.start for s in whole], "end": [s.stop for s in whole], "stride": [s.step for s in whole]}
    feeds = [task.const(f"{task.name}/{key}", np.array(numbers, np.int32)) for key, numbers in bounds.items()]
    ones, zeros = [1] * len(shape), [0] * len(shape)
    masks = {"begin_mask": ones, "end_mask": ones}
    masks |= dict.fromkeys(("new_axis_mask", "shrink_axis_mask", "ellipsis_mask"), zeros)
    task.layer("StridedSlice", [task.value(), *feeds], masks)


def pad(task: Task) -> None:
    """A constant, the edge or a mirror; along all axes."""
    mode, rank = task.text("mode", "constant"), len(task.dims())
    pads = task.constant(1).tolist()
    if mode not in ("constant", "edge", "reflect") or task.has(3) or min(pads) < 0:
        raise task.fail(f"padding of mode {mode}, of some axes, or below zero")
    value = float(task.constant(2).reshape(-1)[0]) if task.has(2) else 0.0
    data = {"pads_begin": pads[:rank], "pads_end": pads[rank:], "pad_mode": mode, "pad_value": value}
    task.layer("Pad", [task.value()], data)


def depth_to_space(task: Task) -> None:
    """The block's place before the channel."""
    if task.text("mode", "DCR") != "DCR":
        raise task.fail("channels before the block's place (CRD)")
    task.layer("DepthToSpace", [task.value()], {"block_size": task.whole("blocksize", 1)})


def resize(task: Task) -> None:
    """Nearest by whole factors and bilinear by pixel centres are Resample; bilinear otherwise is Interp."""
    before, after = task.dims(), task.out
    mode, where = task.text("mode", "nearest"), task.text("coordinate_transformation_mode", "half_pixel")
    if len(before) != 4 or before[:2] != after[:2] or task.whole("antialias", 0):
        raise task.fail(f"resizing {list(before)} to {list(after)}")
    whole = all(new % old == 0 for new, old in zip(after[2:], before[2:], strict=True))
    sizes = {"height": after[2], "width": after[3], "pad_beg": 0, "pad_end": 0}
    resample = {"antialias": 0, "factor": after[2] / before[2]}
    match mode, where, task.text("nearest_mode", "round_prefer_floor"):
        case ("nearest", "asymmetric", "floor") | (
            "nearest",
            "half_pixel",
            "round_prefer_floor" | "round_prefer_ceil",
        ) if whole:
            task.layer("Resample", [task.value()], {"type": "caffe.ResampleParameter.NEAREST", **resample})
        case "linear", "half_pixel" | "pytorch_half_pixel", _ if min(after[2:]) > 1:
            task.layer("Resample", [task.value()], {"type": "caffe.ResampleParameter.LINEAR", **resample})
        case "linear", "align_corners" | "asymmetric", _:
            task.layer("Interp", [task.value()], {"align_corners": int(where == "align_corners"), **sizes})
        case _:
            raise task.fail(f"{mode} resizing by {where}")
