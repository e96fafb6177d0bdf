"""Options that several verbs share, said once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fewbits.errors import InputError
from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions

Function = TypeVar("Function", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_DATA = (
    click.option("--images", type=_PATH, help="Folder of the images of a COCO annotations.json."),
    click.option("--masks", type=_PATH, help="Folder of masks for a folder of images."),
    click.option("--preprocess", type=_PATH, help="Preprocessing as a TOML file; the options below override it."),
    click.option("--resize", metavar="N", help="Resize the short side to N pixels (H,W stretches)."),
    click.option("--crop", metavar="N", help="Cut N by N pixels out of the centre."),
    click.option("--mean", metavar="R,G,B", help="Subtracted, in 0..255 units, in the order of --channels."),
    click.option("--scale", metavar="R,G,B", help="Divided by, in 0..255 units."),
    click.option("--channels", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of the colours."),
    click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Order of the axes."),
    click.option("--label-offset", type=int, default=0, help="Added to labels; 1 where class 0 is background."),
    click.option(
        "--metric", metavar="NAME", help="top1, top5, map, map50, miou, agreement, cosine or module:function."
    ),
    click.option("--samples", type=click.IntRange(min=1), help="Use at most N test samples, drawn by --seed."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice."),
)
_DATA_NAMES = [
    "images",
    "masks",
    "preprocess",
    "resize",
    "crop",
    "mean",
    "scale",
    "channels",
    "layout",
    "label_offset",
    "metric",
    "samples",
    "seed",
]
_DEVICE = click.option(
    "--device",
    default="CPU",
    show_default=True,
    help="CPU, GPU, AUTO:GPU,CPU, CUDA, …: what an engine has here.",
)
_MODEL = (
    click.option("--weights", metavar="X.caffemodel", type=_PATH, help="The weights of a .prototxt."),
    click.option(
        "--random-weights",
        is_flag=True,
        help="Draw the weights of a .prototxt by --seed: real speed, no meaning in the results.",
    ),
)
_COMMON = (
    _DEVICE,
    click.option("--threads", type=click.IntRange(min=1), help="Threads to run with (default: all cores)."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output."),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)


def data_option(*, required: bool) -> Callable[[Function], Function]:
    """``--data``."""
    return click.option(
        "--data",
        metavar="D",
        required=required,
        help="Folder of images or of class folders, CSV file,label, .npy, .npz, COCO .json, module:function.",
    )


def engine_option(default: str = "all") -> Callable[[Function], Function]:
    """``--engine``."""
    return click.option(
        "--engine",
        type=click.Choice(["all", "openvino", "onnxruntime"]),
        default=default,
        show_default=True,
        help="Engines to use.",
    )


def engine_settings(function: Function) -> Function:
    """``--engine-option``."""
    return click.option(
        "--engine-option",
        "engine_options",
        metavar="KEY=VALUE",
        multiple=True,
        help="A setting of the engine named by --engine, passed through; repeatable.",
    )(function)


def device_option(function: Function) -> Function:
    """``--device`` alone."""
    return _DEVICE(function)


def data_options(function: Function) -> Function:
    """Collect the shared data options into one ``options`` argument."""

    @functools.wraps(function)
    def collected(*args: Any, **kwargs: Any) -> Any:
        chosen = {name: kwargs.pop(name) for name in _DATA_NAMES}
        chosen["data"] = kwargs.pop("data", None)
        chosen["calibration_data"] = kwargs.pop("calibration_data", None)
        return function(*args, options=DataOptions(**chosen), **kwargs)

    result: Any = collected
    for option in reversed(_DATA):
        result = option(result)
    return result  # type: ignore[no-any-return]


def common_options(function: Function) -> Function:
    """``--device``, ``--threads``, ``--json``, ``--debug``; the last is read by ``main``."""

    @functools.wraps(function)
    def without_debug(*args: Any, debug: bool, **kwargs: Any) -> Any:  # noqa: ARG001
        return function(*args, **kwargs)

    result: Any = without_debug
    for option in reversed(_COMMON):
        result = option(result)
    return result  # type: ignore[no-any-return]


def model_options(*arguments: str) -> Callable[[Function], Function]:
    """``--weights`` and ``--random-weights``; the path arguments of these names become ``Source``s with them.

    Beside other models they are for the ``.prototxt`` ones.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_sources(*args: Any, weights: Path | None, random_weights: bool, **kwargs: Any) -> Any:
            paths = [path for name in arguments for path in _each(kwargs[name])]
            takers = [path for path in paths if path.suffix.lower() == ".prototxt"] or paths

            def source(path: Path) -> Source:
                return Source(path, weights, random_weights, kwargs["seed"]) if path in takers else Source(path)

            for name in arguments:
                given = kwargs[name]
                kwargs[name] = tuple(map(source, given)) if isinstance(given, tuple) else source(given)
            return function(*args, **kwargs)

        result: Any = with_sources
        for option in reversed(_MODEL):
            result = option(result)
        return result  # type: ignore[no-any-return]

    return decorate


def _each(given: Path | tuple[Path, ...]) -> tuple[Path, ...]:
    return given if isinstance(given, tuple) else (given,)


def percent(text: str, where: str) -> float:
    """``1%`` → 0.01, ``0.01`` → 0.01."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise InputError(f"'{text}' is no number", where=where, fix="write 1% or 0.01") from None
    return value / 100 if text.endswith("%") else value


def seconds(text: str | None) -> float | None:
    """``10m``, ``90s``, ``1h``, ``90`` → seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f"'{text}' is no time", where="--time-budget", fix="write 10m, 90s or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
