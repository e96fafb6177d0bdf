"""Kernel, strides and padding of an ONNX node as attributes of a layer."""

from __future__ import annotations

from fewbits.frontends.legacy_ir.writing.draft import Dims, Task


def window(task: Task, kernel: Dims) -> dict[str, list[int]]:
    """``kernel``, ``strides``, ``pads_begin`` and ``pads_end`` for two or three spatial axes.

    Raises:
        ModelError: one spatial axis, which these layers did not have, or negative padding.
    """
    rank = len(kernel)
    if rank not in (2, 3):
        raise task.fail(f"a window over {rank} axes")
    strides = task.ints("strides", [1] * rank)
    begins, ends = _pads(task, kernel, strides)
    if min(*begins, *ends) < 0:
        raise task.fail("negative padding")
    return {"kernel": list(kernel), "strides": strides, "pads_begin": begins, "pads_end": ends}


def _pads(task: Task, kernel: Dims, strides: list[int]) -> tuple[list[int], list[int]]:
    """Explicit ones: ``auto_pad`` of either kind is worked out for the sizes at hand."""
    rank, mode = len(kernel), task.text("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0] * rank, [0] * rank
    if mode == "NOTSET":
        pads = task.ints("pads", [0] * (2 * rank))
        return pads[:rank], pads[rank:]
    large, small = task.dims()[2:], task.out[2:]
    if task.node.op_type == "ConvTranspose":
        large, small = small, large
    extents = [d * (k - 1) + 1 for d, k in zip(task.ints("dilations", [1] * rank), kernel, strict=True)]
    parts = zip(large, small, strides, extents, strict=True)
    totals = [max((fewer - 1) * s + extent - more, 0) for more, fewer, s, extent in parts]
    halves, rests = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (halves, rests) if mode == "SAME_UPPER" else (rests, halves)
