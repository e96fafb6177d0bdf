"""Which inputs and outputs of an operator become FP16, read from ONNX's own operator schemas.

The inputs and outputs of an operator that share a type variable, such as T, have one type. A variable becomes FP16
where the schema allows that and all inputs bound to it are FP32 tensors. An output whose variable no input binds has
the type an attribute says (``RandomNormal``) or a fixed one (the mean of ``LayerNormalization``), and stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence

import onnx
import onnx_ir as ir

STANDARD = ("", "ai.onnx")
_FLOAT = ir.DataType.FLOAT
_KEEP_FP32 = frozenset(
    # Made of an attribute or of whole numbers.
    {"Constant", "ConstantOfShape", "Range", "CumSum"}
    # Positions and thresholds: a rounding picks another element.
    | {"TopK", "NonMaxSuppression", "RoiAlign", "Bernoulli", "Multinomial", "Unique"}
    # A quantizer's scale is a number of its own, often too small for FP16.
    | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
    # Without an attribute they give the type they read, which no variable says.
    | {"EyeLike", "RandomNormalLike", "RandomUniformLike"}
    # The bits themselves are read.
    | {"BitCast"}
    # ONNX Runtime has no FP16 form of them, and stacked ones end its process.
    | {"RNN", "LSTM", "GRU"}
)
# Coordinates and scales: 11 bits are an eighth of a pixel in 512. Their type variable is not that of the data.
_EXACT = {"Resize": (1, 2), "Upsample": (1,), "GridSample": (1,)}
# FP16 makes of these what FP32 does, or both round: FP64 was chosen for its digits.
_CAST_FROM = frozenset(ir.DataType) - {ir.DataType.DOUBLE, ir.DataType.UNDEFINED, ir.DataType.STRING}


def half_variables(node: ir.Node, opset: int, can_be_half: Callable[[ir.Value], bool]) -> frozenset[str]:
    """The type variables of the node that become FP16; none for a node that stays FP32.

    Nodes of other domains, with subgraphs, of sequences or optionals, or with inputs of unknown type only stay.

    Args:
        can_be_half: whether a value is FP16, or FP32 and so can be cast.
    """
    if node.op_type in _KEEP_FP32 or node.domain not in STANDARD or _has_graph(node) or _loses(node):
        return frozenset()
    schema = _schema(node.op_type, opset)
    if schema is None or _holds_collections(schema, node):
        return frozenset()
    if node.op_type == "Cast":
        return frozenset({"T2"}) if _casts_to_float(node) else frozenset()
    bound: dict[str, list[ir.Value]] = {}
    for value, formal in zip(node.inputs, formals(schema.inputs, len(node.inputs)), strict=True):
        if value is not None and "tensor(float16)" in formal.types:
            bound.setdefault(formal.type_str, []).append(value)
    # Where an optional input is left out, nothing here says what type the outputs of its variable have.
    free = {formal.type_str for formal in schema.inputs} - set(bound)
    if free & {f.type_str for f in formals(schema.outputs, len(node.outputs)) if "tensor(float16)" in f.types}:
        return frozenset()
    exact = {schema.inputs[index].type_str for index in _EXACT.get(node.op_type, ())}
    exact -= {formal.type_str for formal in schema.inputs[:1]}
    # One FP32 input says so of the others, which inference may not know: what contrib operators give.
    return frozenset(
        variable
        for variable, values in bound.items()
        if variable not in exact
        and any(map(can_be_half, values))
        and all(value.type is None or can_be_half(value) for value in values)
    )


def places(node: ir.Node, opset: int, variables: Collection[str]) -> tuple[list[int], list[int]]:
    """The indices of the inputs and of the outputs that these type variables bind."""
    schema = _schema(node.op_type, opset) if variables else None
    if schema is None:
        return [], []
    sides = ((schema.inputs, node.inputs), (schema.outputs, node.outputs))
    read, made = (
        [i for i, formal in enumerate(formals(side, len(actual))) if formal.type_str in variables]
        for side, actual in sides
    )
    return read, made


def is_whole(value: ir.Value) -> bool:
    """Whether the value is known to be a tensor of FP32."""
    return isinstance(value.type, ir.TensorType) and value.dtype == _FLOAT


def formals(side: Sequence[onnx.defs.OpSchema.FormalParameter], count: int) -> list[onnx.defs.OpSchema.FormalParameter]:
    """The schema's parameter for each of ``count`` inputs or outputs; the last one may stand for several."""
    return [side[min(index, len(side) - 1)] for index in range(count)]


def _casts_to_float(node: ir.Node) -> bool:
    source = node.inputs[0]
    return node.attributes["to"].as_int() == _FLOAT.value and source is not None and source.dtype in _CAST_FROM


def _loses(node: ir.Node) -> bool:
    """Whether it is a form of its operator that FP16 spoils, or that ONNX Runtime cannot compute in FP16.

    Scattering with a sum or product; attention that hands out its scores, masked ones among them; batch statistics.
    """
    reduction, training = node.attributes.get("reduction"), node.attributes.get("training_mode")
    if node.op_type.startswith("Scatter"):
        return reduction is not None and reduction.as_string() != "none"
    if node.op_type == "BatchNormalization":
        return training is not None and training.as_int() == 1
    return node.op_type == "Attention" and len(node.outputs) > 3 and bool(node.outputs[3].name)


def _has_graph(node: ir.Node) -> bool:
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in graphs for attribute in node.attributes.values())


def _holds_collections(schema: onnx.defs.OpSchema, node: ir.Node) -> bool:
    """Whether the node takes or gives sequences or optionals: the type of their elements is bound by no variable."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if any(isinstance(value.type, (ir.SequenceType, ir.OptionalType)) for value in values):
        return True
    formal = [types for parameter in (*schema.inputs, *schema.outputs) if (types := parameter.types)]
    return any(not any(name.startswith("tensor(") for name in types) for types in formal) or (
        node.op_type in ("OptionalGetElement", "OptionalHasElement")
    )


@functools.cache
def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:  # an operator this opset does not have: an engine says so better
        return None
