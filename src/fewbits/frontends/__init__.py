"""Foreign file → Model. Only here are foreign formats read; each frontend imports its framework lazily."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx_ir as ir

from fewbits.errors import InputError, ModelError
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from fewbits.frontends.source import Source

# Kind → the module whose ``load(path)`` reads it; it is imported when it is needed.
_FRONTENDS = {
    Kind.ONNX: "onnx",
    Kind.CAFFE: "caffe",
    Kind.OPENVINO: "openvino",
    Kind.LEGACY_IR: "legacy_ir",
    Kind.TENSORFLOW: "openvino",
    Kind.SAVED_MODEL: "openvino",
    Kind.TFLITE: "openvino",
    Kind.PADDLE: "openvino",
    Kind.TORCH: "torch",
}


def load(
    source: str | Path | Source | Any,
    *,
    weights: str | Path | None = None,
    random_weights: bool = False,
    seed: int = 0,
    example_inputs: Any = None,
) -> ir.Model:
    """Read a model with the frontend that its content and its name ask for.

    ``model.meta["frontend"]`` then says which one it was, ``model.meta["notes"]`` what a person should know.

    Args:
        source: a file, a SavedModel folder, or a live ``torch.nn.Module``.
        weights: the ``.caffemodel`` of a ``.prototxt``.
        random_weights: draw the weights of a ``.prototxt`` instead, with ``seed``.
        example_inputs: a tuple, or a dictionary by argument name, to trace a module with.

    Raises:
        InputError: an option does not go with the source.
        ModelError: no such file, an unknown kind of file, or one that its frontend cannot read.
    """
    if _is_module(source):
        _no_weights(weights, random_weights, type(source).__name__)
        return _read("torch", source, example_inputs, by="from_module")
    if example_inputs is not None:
        raise InputError("example inputs go with a torch.nn.Module only", where=str(source), fix="leave them out")
    if isinstance(source, Source):
        weights, random_weights, seed, source = source.weights, source.random_weights, source.seed, source.path
    path = Path(source)
    kind = identify(path)
    if kind is Kind.CAFFE:
        chosen = None if weights is None else Path(weights)
        return _read("caffe", path, weights=chosen, random_weights=random_weights, seed=seed)
    _no_weights(weights, random_weights, str(path))
    return _read(_FRONTENDS[kind], path)


def _read(frontend: str, *arguments: Any, by: str = "load", **options: Any) -> ir.Model:
    model: ir.Model = getattr(import_module(f"fewbits.frontends.{frontend}"), by)(*arguments, **options)
    return model


def _is_module(source: Any) -> bool:
    """A module can only be there if torch was imported; it is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _no_weights(weights: object, random_weights: bool, where: str) -> None:
    if weights is not None or random_weights:
        option = "--weights" if weights is not None else "--random-weights"
        raise ModelError(f"{option} goes with a .prototxt only", where=where, fix="leave it out")
