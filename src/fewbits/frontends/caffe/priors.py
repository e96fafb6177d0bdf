"""PriorBox (SSD) with Caffe's fields and refusals; ``max_size`` is given for every ``min_size`` or for none."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.frontends.caffe.step import Step
from fewbits.frontends.ssd import Grid, box_sizes

_VARIANCE = 0.1


def prior_box(step: Step) -> list[ir.Value]:
    """The boxes of one feature map (first bottom) in an image (second bottom), as a constant."""
    params = step.params
    if len(step.inputs) != 2 or any(len(step.sizes(value)) != 4 for value in step.inputs):
        raise step.error("it needs a feature map and an image of four axes")
    rows, columns = step.sizes(step.inputs[0])[2:]
    image = step.sizes(step.inputs[1])[2:]
    height, width = (_given(step, "img", axis) or size for axis, size in zip("hw", image, strict=True))
    try:
        grid = Grid(
            sizes=_sizes(step),
            places=(rows, columns),
            image=(height, width),
            steps=(_pace(step, "h") or height / rows, _pace(step, "w") or width / columns),
            offset=params.number("offset", 0.5),
            variances=params.numbers("variance") or [_VARIANCE],
            clip=params.truth("clip", False),
        )
        return [step.constant(grid.priors(), "priors")]
    except ValueError as error:
        raise step.error(str(error), fix="correct its sizes, steps, offset and variances") from error


def _sizes(step: Step) -> list[tuple[float, float]]:
    params = step.params
    least, most = params.numbers("min_size"), params.numbers("max_size")
    if len(most) not in (0, len(least)):
        raise step.error(f"{len(least)} min_size and {len(most)} max_size", fix="give a max_size each, or none")
    for small, large in zip(least, most, strict=False):
        if large <= small:
            raise step.error(f"max_size {large:g} is not above min_size {small:g}")
    return box_sizes(least, most, params.numbers("aspect_ratio"), flip=params.truth("flip", True))


def _given(step: Step, name: str, axis: str) -> int:
    return step.params.integer(f"{name}_{axis}", 0) or step.params.integer(f"{name}_size", 0)


def _pace(step: Step, axis: str) -> float:
    return step.params.number(f"step_{axis}", 0.0) or step.params.number("step", 0.0)
