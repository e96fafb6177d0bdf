"""PyTorch → Model: exported programs (``.pt2``) and live modules, through torch's own ONNX exporter."""

from __future__ import annotations

import ast
import contextlib
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from fewbits.errors import InputError, ModelError
from fewbits.frontends.onnx import normalise
from fewbits.frontends.pt2 import clean_copy, refusal

# What torch's decompositions are written in; a later one would be converted to.
_OPSET = 18
_SCOPES = "pkg.torch.onnx.name_scopes"


def load(path: Path) -> ir.Model:
    """Read an exported program; no pickle in it is ever loaded, no text in it evaluated (see ``pt2``).

    Raises:
        InputError: torch is not installed.
        ModelError: not an exported program, damaged, or with operators that ONNX has not.
    """
    torch = _torch()
    with tempfile.TemporaryDirectory(prefix="fewbits-") as folder:
        copy = Path(folder) / "model.pt2"
        clean_copy(path, copy)
        with _quietly():
            try:
                program = torch.export.load(copy)
            except Exception as error:  # whatever torch raises on a program that contradicts itself
                fix = f"export it again, with torch {torch.__version__}"
                raise refusal(path, _first_line(error), fix) from error
            return _converted(program, str(path), "PyTorch exported program")


def from_module(module: Any, example_inputs: Any) -> ir.Model:
    """Trace a live ``torch.nn.Module`` in evaluation mode; its first dimension stays free where the module lets it.

    Args:
        example_inputs: one tensor, a tuple of them, or a dictionary by argument name.

    Raises:
        InputError: torch is not installed, or the example inputs are none.
        ModelError: the module cannot be traced, or has operators that ONNX has not.
    """
    torch, name = _torch(), type(module).__name__
    given = _examples(torch, example_inputs, name)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with _quietly(), torch.no_grad():
            program = _with_free_batch(torch, module, given)
            note = "" if program else f"{name} takes the batch of its example inputs only"
            try:
                program = program or torch.export.export(module, *given)
            except Exception as error:  # torch raises what the module's own code raises, and errors of many kinds
                fix = "torch.export.export must take it; see its message with these inputs"
                raise ModelError(f"cannot be traced: {_first_line(error)}", where=name, fix=fix) from error
            model = _converted(program, name, "PyTorch module")
    finally:
        for part, training in modes:
            part.training = training
    if note:
        model.meta.setdefault("notes", []).append(note)
    return model


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        what, fix = "PyTorch models need torch, which is not installed", "pip install 'fewbits[torch]'"
        raise InputError(what, where="torch", fix=fix) from error
    return torch


def _examples(torch: Any, given: Any, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(positional, by name)."""
    if isinstance(given, torch.Tensor):
        return (given,), {}
    if isinstance(given, Mapping) and given:
        return (), dict(given)
    if isinstance(given, Sequence) and given:
        return tuple(given), {}
    fix = "give a tuple, or a dictionary by argument name: fewbits.load(module, example_inputs=(x,))"
    raise InputError("a module is traced with example inputs", where=name, fix=fix)


def _with_free_batch(torch: Any, module: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """The program with a free first dimension, None where the module does not let it.

    Torch takes a size of one for a constant, so that samples are doubled to trace with.
    """

    def batched(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.ndim > 0

    def doubled(value: Any) -> Any:
        return torch.cat([value, value]) if batched(value) and value.shape[0] == 1 else value

    def free(value: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if batched(value) else None

    arguments, named = given
    shapes: Any = {key: free(value) for key, value in named.items()} if named else tuple(map(free, arguments))
    two = sum(batched(value) and value.shape[0] == 2 for value in (*arguments, *named.values()))
    try:
        program = torch.export.export(
            module,
            tuple(map(doubled, arguments)),
            {key: doubled(value) for key, value in named.items()},
            dynamic_shapes=shapes,
        )
    except Exception:  # what it says is about doubled samples; the samples as given are tried next
        return None
    inputs = set(program.graph_signature.user_inputs)
    sizes = [
        size
        for node in program.graph.nodes
        if node.name in inputs
        for size in getattr(node.meta["val"], "shape", ())[:1]
    ]
    # A doubled input whose two was taken for a constant would give a model of batch two. Only plain numbers may be
    # compared: to torch, comparing a free size is a promise that it has this value.
    return None if sum(isinstance(size, int) and size == 2 for size in sizes) > two else program


def _converted(program: Any, where: str, frontend: str) -> ir.Model:
    from onnxscript import optimizer

    torch = _torch()
    try:
        # Its own optimizer would give fused nodes names of its making; ours keeps those of the source.
        exported = torch.onnx.export(program, dynamo=True, opset_version=_OPSET, optimize=False, verbose=False)
    except Exception as error:  # the exporter's errors have no base of their own
        raise ModelError(
            f"torch cannot write it as ONNX: {_first_line(error)}", where=where, fix="replace the operator it names"
        ) from error
    model: ir.Model = exported.model
    for node in model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    _name_nodes(model)
    _name_batch(model)
    optimizer.fold_constants(model)  # zero biases and shapes of weights, which the exporter writes as operators
    RemoveUnusedNodesPass()(model)
    model.meta["frontend"] = frontend
    return normalise(model)


def _name_nodes(model: ir.Model) -> None:
    """After the module a node comes from: ``layer1.0.conv1/conv2d``; inner ones of an operator get its type besides."""
    taken: Counter[str] = Counter()
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        path = "/".join(part for part in scopes[-2:] if part and not part.startswith("_empty_nn_module"))
        if scopes and not (node.name or "").startswith(f"node_{scopes[-1]}"):
            path = f"{path}/{node.op_type}"
        if path:
            taken[path] += 1
            node.name = path if taken[path] == 1 else f"{path}_{taken[path]}"


def _name_batch(model: ir.Model) -> None:
    """A free first dimension of the inputs is called N, wherever it appears."""
    first = {
        str(value.shape[0])
        for value in model.graph.inputs
        if value.shape and isinstance(value.shape[0], ir.SymbolicDim)
    }
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(["N" if str(size) in first else size for size in value.shape])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hush torch: it warns of its own deprecations and of packages it does without; faults come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    """The cause's first line: torch wraps what went wrong in pages of advice."""
    root = error
    while isinstance(root.__cause__, Exception):
        root = root.__cause__
    return (str(root).strip().splitlines() or [type(root).__name__])[0][:300]
