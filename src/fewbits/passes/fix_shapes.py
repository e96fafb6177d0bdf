"""Free input sizes fixed, and every size that follows from them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import onnx_ir as ir

from fewbits.errors import InputError
from fewbits.graph import queries

# One input of a gigabyte; more is a slip of the keyboard.
_MOST_NUMBERS = 1 << 28


def fix_shapes(model: ir.Model, texts: tuple[str, ...]) -> None:
    """Give inputs fixed sizes, each text as ``name:1,3,224,224``.

    Raises:
        InputError: not of that form, no such input, or another rank.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    shapes: dict[str, ir.Shape] = {}
    for text in texts:
        match = re.fullmatch(r"(.+):(\d+(?:,\d+)*)", text)
        if match is None:
            raise InputError(f"'{text}' is no input shape", where="--input-shape", fix="write name:1,3,224,224")
        name, sizes = match[1], [int(size) for size in match[2].split(",")]
        if name not in inputs:
            raise InputError(
                f"the model has no input '{name}'",
                where="--input-shape",
                fix=f"it has {', '.join(map(str, inputs))}",
            )
        rank = queries.dims(inputs[name])
        if rank is not None and len(rank) != len(sizes):
            raise InputError(
                f"'{name}' has {len(rank)} dimensions, not {len(sizes)}",
                where="--input-shape",
                fix=f"give {len(rank)} sizes",
            )
        if not 0 < math.prod(sizes) <= _MOST_NUMBERS:
            raise InputError(
                f"'{text}' holds {math.prod(sizes)} numbers", where="--input-shape", fix=f"1 to {_MOST_NUMBERS}"
            )
        shapes[name] = ir.Shape(sizes)
    if shapes:
        take_shapes(model, shapes)


def take_shapes(model: ir.Model, shapes: Mapping[str, ir.Shape]) -> None:
    """Give inputs these shapes, by name, and infer all others anew.

    Raises:
        InputError: the model cannot take them.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    for value in model.graph.inputs:
        value.shape = shapes.get(value.name or "", value.shape)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            value.shape = None  # inferred for other sizes
    try:
        ShapeInferencePass()(model)
    except Exception as error:  # whatever inference makes of sizes that contradict each other
        raise InputError(
            "the model cannot take these sizes", where="--input-shape", fix="give sizes this model can take"
        ) from error
