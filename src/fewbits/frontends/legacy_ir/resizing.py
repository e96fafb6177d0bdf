"""Interp and Resample: images made larger or smaller, to the size the layer declares."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site


def interp(at: Site) -> ir.Value:
    """Bilinear; the corners of both images lie on each other, or with ``align_corners="0"`` their first pixels do."""
    if at.whole("pad_beg", 0) or at.whole("pad_end", 0):
        raise at.fail("padding in an Interp is unknown to fewbits", "pad or crop in a layer of its own")
    if at.shape == at.out:
        return at.x
    corners = "align_corners" if at.flag("align_corners", True) else "asymmetric"
    return _resized(at, mode="linear", coordinate_transformation_mode=corners)


def resample(at: Site) -> ir.Value:
    """Nearest or bilinear, by the centres of pixels. Shrinking with ``antialias`` would weigh more than two pixels."""
    kind = at.text("type").rpartition(".")[2].upper()
    if kind not in ("NEAREST", "LINEAR"):
        raise at.fail(f"interpolation '{kind[:40]}' is unknown to fewbits")
    if at.shape == at.out:
        return at.x
    sizes = list(zip(at.shape[2:], at.out[2:], strict=False))
    if kind == "NEAREST" and all(out % size == 0 for size, out in sizes):
        return nearest(at)
    if kind == "NEAREST":
        centred = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        return _resized(at, mode="nearest", **centred)
    if at.flag("antialias") and any(out < size for size, out in sizes):
        raise at.fail("antialiasing when shrinking is unknown to fewbits", "shrink without it")
    return _resized(at, mode="linear", coordinate_transformation_mode="half_pixel")


def nearest(at: Site) -> ir.Value:
    """Every pixel repeated a whole number of times."""
    return _resized(at, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _resized(at: Site, **how: str) -> ir.Value:
    if len(at.out) != len(at.shape) or at.out[:2] != at.shape[:2]:
        raise at.fail(f"it makes {list(at.out)} of {list(at.shape)}, which is no resizing")
    return at.op("Resize", at.x, None, None, at.indices("sizes", at.out), **how)
