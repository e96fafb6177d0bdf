"""A Pad in front of a MaxPool becomes the pool's own padding, which exporters of "same" pooling write out.

A MaxPool pads with what is smaller than every number, so for x padded with c, where c <= every number of x:

    MaxPool(Pad(x, p, c), pads = q) = MaxPool(x, pads = p + q)

It applies to c = -infinity or the lowest number of FP32, and to c = 0 behind an operator that gives nothing below zero.
It refuses where a window could lie in the padding alone, where the pool rounds its size up (its last window is then
counted otherwise), where its positions are asked for, where sizes are cut off, and where the Pad has another reader.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.passes.layer import sole_reader


def pad_into_pool(model: ir.Model) -> bool:
    """Take each Pad into the MaxPool behind it; whether there was one."""
    changed = False
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Pad" and node.domain in ("", "ai.onnx") else None
        pool = None if source is None else sole_reader(node.outputs[0])
        if source is None or pool is None or pool.op_type != "MaxPool" or not _pads_with_least(node, source):
            continue
        pads = _joint_pads(node, pool)
        if pads is not None:
            pool.attributes.pop("auto_pad", None)
            pool.attributes.add(ir.AttrInt64s("pads", pads))
            pool.replace_input_with(0, source)
            model.graph.remove(node, safe=True)
            changed = True
    return changed


def _pads_with_least(node: ir.Node, source: ir.Value) -> bool:
    """Whether no number of the source is below what the node pads with."""
    mode = node.attributes.get("mode")
    if (mode is not None and mode.as_string() != "constant") or source.dtype != ir.DataType.FLOAT:
        return False
    filled = node.inputs[2] if len(node.inputs) > 2 else None
    filling = np.zeros(()) if filled is None else queries.constant(filled)
    if filling is None or filling.size != 1:
        return False
    lowest = bool((filling <= np.finfo(np.float32).min).all())
    return lowest or (bool((filling == 0).all()) and queries.never_negative(source))


def _joint_pads(node: ir.Node, pool: ir.Node) -> list[int] | None:
    """The pads of both, [begins, ends] over the spatial axes; None where the pool cannot have them."""
    amounts = queries.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    given = {key: pool.attributes.get(key) for key in ("kernel_shape", "pads", "auto_pad", "ceil_mode", "dilations")}
    kernel, own, auto, ceil, dilations = given.values()
    if amounts is None or kernel is None or len(node.inputs) > 3 or len(pool.outputs) > 1:
        return None
    if (auto is not None and auto.as_string() not in ("NOTSET", "VALID")) or (ceil is not None and ceil.as_int()):
        return None
    if dilations is not None and any(step != 1 for step in dilations.as_ints()):
        return None
    sizes = kernel.as_ints()
    begins, ends = amounts.reshape(2, -1).tolist()
    if len(begins) != len(sizes) + 2 or any((*begins[:2], *ends[:2])) or min(*begins, *ends) < 0:
        return None
    explicit = own is not None and (auto is None or auto.as_string() == "NOTSET")
    inner = own.as_ints() if own is not None and explicit else [0] * (2 * len(sizes))
    pads = [a + b for a, b in zip((*begins[2:], *ends[2:]), inner, strict=True)]
    return pads if all(pad < size for pad, size in zip(pads, (*sizes, *sizes), strict=True)) else None
