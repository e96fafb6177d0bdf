"""PriorBox and PriorBoxClustered with the attributes and defaults of 2019: constants, as sizes alone decide."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from fewbits.frontends.legacy_ir.site import Site
from fewbits.frontends.ssd import Grid, box_sizes

Pair = tuple[float, float]


def prior_box(at: Site) -> ir.Value:
    """Squares of each minimum size and of the mean of minimum and maximum, then one box for each aspect ratio."""
    if any(key in at.layer.data and at.reals(key) for key in ("fixed_size", "fixed_ratio", "density")):
        raise at.fail("densities and fixed sizes of prior boxes are unknown to fewbits")
    least, ratios, scale_all = at.reals("min_size"), at.reals("aspect_ratio", []), at.flag("scale_all_sizes", True)
    try:
        sizes = box_sizes(least, at.reals("max_size", []), ratios, flip=at.flag("flip"), scale_all=scale_all)
    except ValueError as error:
        raise at.fail(str(error)) from error
    step = at.real("step", 0.0)
    # Steps that follow from the sizes had their own offset.
    return _priors(at, sizes, (step, step), _sizes(at)[1], at.real("offset", 0.5) if step else 0.5)


def prior_box_clustered(at: Site) -> ir.Value:
    """One box for each width and height."""
    widths, heights = at.reals("width"), at.reals("height")
    if len(widths) != len(heights) or not widths:
        raise at.fail(f"{len(widths)} widths and {len(heights)} heights")
    step = at.real("step", 0.0)
    height, width = _sizes(at)[1]
    image = at.real("img_h", 0.0) or height, at.real("img_w", 0.0) or width
    steps = at.real("step_h", 0.0) or step, at.real("step_w", 0.0) or step
    return _priors(at, list(zip(widths, heights, strict=True)), steps, image, at.real("offset", 0.5))


def _sizes(at: Site) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the feature map and of the image."""
    at.need(2)
    if not all(len(shape) == 4 for shape in at.shapes[:2]):
        raise at.fail("it needs a feature map and an image")
    (_, _, h, w), (_, _, image_h, image_w) = at.shapes[:2]
    return (h, w), (image_h, image_w)


def _priors(at: Site, sizes: Sequence[Pair], steps: Pair, image: Pair, offset: float) -> ir.Value:
    places, _ = _sizes(at)
    if not any(steps):
        steps = image[0] / places[0], image[1] / places[1]
    variances = at.reals("variance", []) or [0.1]
    grid = Grid(
        sizes=sizes,
        places=places,
        image=image,
        steps=steps,
        offset=offset,
        variances=variances,
        clip=at.flag("clip"),
    )
    try:
        priors = grid.priors()
    except ValueError as error:
        raise at.fail(str(error)) from error
    if priors.shape != at.out:
        raise at.fail(f"it declares {list(at.out)} for {priors.shape[2]} numbers of boxes")
    return at.const("boxes", priors)
