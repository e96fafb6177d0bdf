"""Kernels, strides and paddings as Caffe's convolutions and poolings spell them, for any number of axes."""

from __future__ import annotations

from fewbits.frontends.caffe.step import Step


def per_axis(step: Step, name: str, short: str, axes: int, default: int | None, *, low: int = 0) -> list[int]:
    """``name`` once for all axes or once for each, or ``short_h`` and ``short_w`` for two axes.

    Raises:
        ModelError: given in both ways, for another number of axes, or missing where there is no default.
    """
    params, single = step.params, (f"{short}_h", f"{short}_w")
    if any(params.has(one) for one in single):
        if params.has(name) or axes != 2:
            raise step.error(
                f"{' and '.join(single)} do not go with {name} or with {axes} axes", fix="give one of them"
            )
        if default is None and not all(params.has(one) for one in single):
            raise step.error(f"{' and '.join(single)} belong together", fix="give both")
        return [params.integer(one, default or 0, low=low) for one in single]
    given = params.integers(name, low=low)
    if not given and default is not None:
        return [default] * axes
    if len(given) not in (1, axes):
        raise step.error(f"{len(given)} values of {name} for {axes} axes", fix="give one, or one an axis")
    return given * axes if len(given) == 1 else given
