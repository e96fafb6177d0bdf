"""How many different whole numbers an input may hold, where the graph tells: positions in a table of embeddings."""

from __future__ import annotations

import onnx_ir as ir

from fewbits.graph import queries

# Operators that hand positions on as they are.
_CARRY = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Concat")


def vocabulary(model: ir.Model) -> dict[str, int]:
    """By input name: numbers from 0 up to this one (not included) are positions in every table the input is used on."""
    sizes = {value.name or "": _smallest(value) for value in model.graph.inputs}
    return {name: size for name, size in sizes.items() if size is not None}


def _smallest(value: ir.Value) -> int | None:
    found: list[int | None] = []
    for node, index in ((use.node, use.idx) for use in value.uses()):
        if node.op_type == "Gather" and index == 1 and node.inputs[0] is not None:
            shape, axis = queries.dims(node.inputs[0]), node.attributes.get("axis")
            found.append(shape[0 if axis is None else axis.as_int()] if shape else None)
        elif node.op_type == "OneHot" and index == 0:
            depth = queries.constant(node.inputs[1])
            found.append(None if depth is None else int(depth.reshape(-1)[0]))
        elif node.op_type in _CARRY and index == 0:
            found.append(_smallest(node.outputs[0]))
    return min((size for size in found if size is not None), default=None)
