"""Pooling: the largest or the mean of each window."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site
from fewbits.frontends.legacy_ir.window import window


def pooling(at: Site) -> ir.Value:
    """Max or mean; ``exclude-pad`` divides by the numbers inside the input only.

    ``rounding_type`` says whether a last window that hangs over counts; where it is not written, it does. Where both
    ways give one size, ONNX is told ``floor``, on which all engines agree.
    """
    if len(at.shape) < 3:
        raise at.fail(f"an input of {list(at.shape)} has nothing to pool over")
    found, method = window(at), at.text("pool-method", "max").lower()
    rounding = at.text("rounding_type", "ceil").lower()
    if rounding not in ("ceil", "floor") or method not in ("max", "avg"):
        raise at.fail(f"pool-method '{method[:40]}' with rounding_type '{rounding[:40]}' is unknown")
    ceil = rounding == "ceil" and found.floors(at.shape[2:]) != list(at.out[2:])
    extra = {"count_include_pad": int(not at.flag("exclude-pad"))} if method == "avg" else {}
    return at.op(
        "AveragePool" if method == "avg" else "MaxPool",
        at.x,
        kernel_shape=found.kernel,
        strides=found.strides,
        pads=found.pads,
        ceil_mode=int(ceil),
        **extra,
    )
