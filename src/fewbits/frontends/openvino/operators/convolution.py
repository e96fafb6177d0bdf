"""Convolutions. OpenVINO keeps the groups as an axis of the weights, ONNX as a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import onnx_ir as ir

from fewbits.frontends.openvino.operation import Operation
from fewbits.frontends.openvino.quantized import Quantized
from fewbits.frontends.openvino.writer import Writer

Emit = Callable[[Operation, Writer], ir.Value]


def window_pads(op: Operation, kernel: list[int], strides: list[int], dilations: list[int]) -> dict[str, Any]:
    """ONNX's ``pads``, or ``auto_pad`` where the input's sizes are not known; see ``same_pads``."""
    kind = op.attributes["auto_pad"]
    if kind == "valid":
        return {"pads": [0] * (2 * len(kernel))}
    if kind == "explicit":
        return {"pads": [*map(int, op.attributes["pads_begin"]), *map(int, op.attributes["pads_end"])]}
    sizes = (op.dims(0) or (None,))[2:]
    spatial = [size for size in sizes if size is not None]
    if len(spatial) < len(kernel):
        return {"auto_pad": kind.upper()}
    totals = [
        max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
    ]
    return {"pads": split_pads(totals, upper=kind == "same_upper")}


def split_pads(totals: list[int], *, upper: bool) -> list[int]:
    """Each total halved; the odd one goes behind (upper) or in front: [3, 2] → [1, 1, 2, 1] for upper."""
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    return [*small, *large] if upper else [*large, *small]


def _weights(op: Operation, w: Writer, *, grouped: bool) -> tuple[ir.Value, int, list[int]]:
    """(the weights in ONNX's layout, groups, kernel): [G, O, I, kh, kw] → [G*O, I, kh, kw]."""
    sizes = op.sizes(1)
    if not grouped:
        return op.input(1), 1, list(sizes[2:])
    layout = (sizes[0] * sizes[1], *sizes[2:])
    known = op.known(1)
    if known is None:
        return w.reshape(op.input(1), *layout), sizes[0], list(sizes[3:])
    moved = known.moved(lambda a: a.reshape(layout)) if isinstance(known, Quantized) else known.reshape(layout)
    return w.constant(moved, role="weights"), sizes[0], list(sizes[3:])


def _convolution(*, grouped: bool) -> Emit:
    def emit(op: Operation, w: Writer) -> ir.Value:
        weights, groups, kernel = _weights(op, w, grouped=grouped)
        strides, dilations = (list(map(int, op.attributes[key])) for key in ("strides", "dilations"))
        return w.op(
            "Conv",
            op.input(0),
            weights,
            kernel_shape=kernel,
            strides=strides,
            dilations=dilations,
            group=groups,
            **window_pads(op, kernel, strides, dilations),
        )

    return emit


def _backprop(*, grouped: bool) -> Emit:
    """ConvTranspose: out = stride (in - 1) + (kernel - 1) dilation + 1 + output_padding - pads."""

    def emit(op: Operation, w: Writer) -> ir.Value:
        weights, groups, kernel = _weights(op, w, grouped=grouped)
        strides, dilations = (list(map(int, op.attributes[key])) for key in ("strides", "dilations"))
        extra = list(map(int, op.attributes.get("output_padding") or [0] * len(kernel)))
        kind = op.attributes["auto_pad"]
        begin, end = (list(map(int, op.attributes[key])) for key in ("pads_begin", "pads_end"))
        pads = [0] * (2 * len(kernel)) if kind != "explicit" else [*begin, *end]
        if op.has(2):
            wanted, sizes = op.integers(2), op.sizes()[2:]
            full = [
                stride * (size - 1) + (k - 1) * dilation + 1
                for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
            ]
            if kind == "explicit":
                given = [a + b for a, b in zip(begin, end, strict=True)]
                extra = [want - (f - p) for want, f, p in zip(wanted, full, given, strict=True)]
            else:
                totals = [f + e - want for f, e, want in zip(full, extra, wanted, strict=True)]
                extra = [e + max(-total, 0) for e, total in zip(extra, totals, strict=True)]
                pads = split_pads(
                    [max(total, 0) for total in totals], upper=kind == "same_lower"
                )  # here the odd one is in front
        # ONNX takes what is added behind only below the stride; the rest of it is a negative pad in no runtime.
        legal = all(0 <= e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True))
        op.refuse_unless(legal, f"an output padding of {extra} is not one that ONNX takes")
        return w.op(
            "ConvTranspose",
            op.input(0),
            weights,
            kernel_shape=kernel,
            strides=strides,
            dilations=dilations,
            group=groups,
            pads=pads,
            output_padding=extra if any(extra) else None,
        )

    return emit


TABLE: Final[dict[str, Emit]] = {
    "Convolution": _convolution(grouped=False),
    "GroupConvolution": _convolution(grouped=True),
    "ConvolutionBackpropData": _backprop(grouped=False),
    "GroupConvolutionBackpropData": _backprop(grouped=True),
}
