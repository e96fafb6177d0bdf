"""Reshapes whose sizes are computed when the model runs, but follow from its inputs: they get a constant.

[N, 4, 6, 6] reshaped to (N, 144), with N read off the input by four operators, is Reshape to (-1, 144). One size may be
free, and no other one 0: what remains would not be told. Sizes inside a loop may change from turn to turn and stay.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_initializer, replace_input


def settle_reshapes(model: ir.Model) -> None:
    """Give every such Reshape its constant."""
    for node in model.graph:
        if node.op_type != "Reshape" or node.domain not in ("", "ai.onnx") or queries.is_constant(node.inputs[1]):
            continue
        shape = queries.dims(node.outputs[0])
        if not shape or 0 in shape or shape.count(None) > 1:
            continue
        sizes = np.array([-1 if size is None else size for size in shape], np.int64)
        node.attributes.pop("allowzero", None)
        replace_input(model, node, 1, add_initializer(model, f"{node.name}.shape", sizes))
