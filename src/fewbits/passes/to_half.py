"""Half-size models: weights stored in 16 bits, and graphs that compute in FP16.

Two forms, for two needs:

- ``store_half``: weights in FP16 or BF16, each followed by a Cast to FP32. Half the file; engines fold the
  casts when they load it and compute in whatever format they are asked to.
- ``compute_fp16``: the operators themselves are FP16, with FP32 inputs and outputs. For devices with FP16
  arithmetic. What has no FP16 form (by ONNX's own operator schemas) or a weight that FP16 cannot hold stays FP32.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.edits import add_rounded
from fewbits.graph.queries import node_name
from fewbits.numerics import FP16

# Below this many numbers the Cast node, with its three names, needs more bytes than the weights save.
_LEAST_NUMBERS = 128
# Schemas allow FP16 here, but sums over long axes and positions beyond 2048 do not survive it.
_KEEP_FP32 = frozenset({"Constant", "ConstantOfShape", "CumSum", "Range", "TopK", "NonMaxSuppression", "RoiAlign"})


def store_half(model: ir.Model, dtype: ir.DataType, *, keep: Collection[str] = ()) -> ir.Model:
    """A copy whose FP32 weights are stored in 16 bits and cast back; the input model stays as it is.

    Weights that the format would turn into infinity stay FP32.

    Args:
        keep: names of nodes whose weights stay FP32.
    """
    model = model.clone()
    for value in list(model.graph.initializers.values()):
        array = queries.constant(value)
        if array is None or value.dtype != ir.DataType.FLOAT or not value.uses() or array.size < _LEAST_NUMBERS:
            continue
        if any(node_name(node) in keep for node in queries.users(value)):
            continue
        if dtype == ir.DataType.FLOAT16 and _overflows(value):
            continue
        stored = add_rounded(model, f"{value.name}.half", value, dtype)
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}.to_fp32")
        result = cast.outputs[0]
        result.shape, result.type, name = value.shape, value.type, value.name
        value.replace_all_uses_with(result)
        del model.graph.initializers[name or ""]
        result.name = name
        model.graph.insert_before(model.graph[0], cast)
    return model


def compute_fp16(model: ir.Model, *, keep: Collection[str] = (), guard: bool = True) -> ir.Model:
    """A copy that computes in FP16 between FP32 inputs and outputs; the input model stays as it is.

    Args:
        keep: names of nodes that stay FP32, with casts where they meet FP16 (``hazards.unsafe_nodes`` finds them).
        guard: keep nodes in FP32 whose constants lie beyond FP16's range; without it one sees what they do there.
    """
    model = model.clone()
    opset = model.opset_imports.get("", 17)
    kept = {node for node in model.graph if node_name(node) in keep or _stays_fp32(node, opset, guard=guard)}
    halves: dict[ir.Value, ir.Value] = {}
    wholes: dict[ir.Value, ir.Value] = {}
    produced_half: set[ir.Value] = set()
    for node in list(model.graph):
        stays = node in kept
        for attribute in node.attributes.values() if stays else ():
            if attribute.type == ir.AttributeType.GRAPH:
                for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                    for i, v in enumerate(inner.inputs):
                        if v in produced_half:
                            inner.replace_input_with(i, _cast(model, v, ir.DataType.FLOAT, wholes))
        for index, value in enumerate(node.inputs):
            if value is None or not _carries_float(value, produced_half):
                continue
            wants_half = not stays and _takes_fp16(node, index, opset)
            if wants_half and value not in produced_half:
                node.replace_input_with(index, _half(model, value, halves))
            elif not wants_half and value in produced_half:
                node.replace_input_with(index, _cast(model, value, ir.DataType.FLOAT, wholes))
        if not stays:
            for output in node.outputs:
                if output.dtype == ir.DataType.FLOAT:
                    output.type = ir.TensorType(ir.DataType.FLOAT16)
                    produced_half.add(output)
            target = node.attributes.get("to") if node.op_type == "Cast" else None
            if target is not None and target.as_int() == ir.DataType.FLOAT.value:
                node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16.value)
    _restore_outputs(model, produced_half, wholes)
    for value in list(model.graph.initializers.values()):
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[value.name or ""]
    return model


def _carries_float(value: ir.Value, produced_half: set[ir.Value]) -> bool:
    return value in produced_half or value.dtype == ir.DataType.FLOAT


def _stays_fp32(node: ir.Node, opset: int, *, guard: bool) -> bool:
    if node.op_type in _KEEP_FP32 or node.domain not in ("", "ai.onnx"):
        return True
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        return True
    if any(v.dtype == ir.DataType.FLOAT for v in node.outputs) and not _gives_fp16(node.op_type, opset):
        return True
    return guard and any(_overflows(v) for v in node.inputs if v is not None and v.dtype == ir.DataType.FLOAT)


def _overflows(value: ir.Value) -> bool:
    array = queries.constant(value)
    return array is not None and bool((np.abs(array[np.isfinite(array)]) > FP16.max).any())


@functools.cache
def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(op_type, opset, "")


def _takes_fp16(node: ir.Node, index: int, opset: int) -> bool:
    formal = _schema(node.op_type, opset).inputs
    return "tensor(float16)" in formal[min(index, len(formal) - 1)].types


def _gives_fp16(op_type: str, opset: int) -> bool:
    return "tensor(float16)" in _schema(op_type, opset).outputs[0].types


def _half(model: ir.Model, value: ir.Value, known: dict[ir.Value, ir.Value]) -> ir.Value:
    if not queries.is_constant(value):
        return _cast(model, value, ir.DataType.FLOAT16, known)
    if value not in known:
        known[value] = add_rounded(model, f"{value.name}.fp16", value, ir.DataType.FLOAT16)
    return known[value]


def _cast(model: ir.Model, value: ir.Value, to: ir.DataType, known: dict[ir.Value, ir.Value]) -> ir.Value:
    """One Cast per value, however many read it."""
    if value not in known:
        suffix = "fp16" if to == ir.DataType.FLOAT16 else "fp32"
        cast = ir.node("Cast", [value], {"to": to.value}, name=f"{value.name}.to_{suffix}")
        result = cast.outputs[0]
        result.name, result.shape, result.type = f"{value.name}.{suffix}", value.shape, ir.TensorType(to)
        producer = value.producer()
        if producer is None:
            model.graph.insert_before(model.graph[0], cast)
        else:
            model.graph.insert_after(producer, cast)
        known[value] = result
    return known[value]


def _restore_outputs(model: ir.Model, produced_half: set[ir.Value], wholes: dict[ir.Value, ir.Value]) -> None:
    """Model outputs keep their names and FP32."""
    for index, output in enumerate(model.graph.outputs):
        if output not in produced_half:
            continue
        name = output.name
        output.name = f"{name}.fp16"
        if output in wholes:
            wholes[output].name = name
            model.graph.outputs[index] = wholes[output]
            continue
        cast = ir.node("Cast", [output], {"to": ir.DataType.FLOAT.value}, name=f"{name}.to_fp32")
        result = cast.outputs[0]
        result.name, result.shape, result.type = name, output.shape, ir.TensorType(ir.DataType.FLOAT)
        model.graph.append(cast)
        model.graph.outputs[index] = result
