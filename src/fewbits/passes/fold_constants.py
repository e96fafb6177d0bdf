"""What does not depend on the input is evaluated once; what is not read goes.

Sizes of values are such constants where inference knows them. A node is evaluated by ONNX's reference implementation,
in the model's own number format. It refuses random operators, text, numbers that an integer cannot hold (engines differ
there), quantizers, which say something beside their result, and results that are large and larger than what they are
made of: a file is to hold ``Expand(0, [4096, 4096])``, not sixteen million zeros.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx.reference.ops
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from fewbits.graph import queries
from fewbits.passes.constant_if import inline_constant_ifs
from fewbits.passes.known_reshapes import settle_reshapes
from fewbits.passes.no_effect import drop_no_effect

_MOST_READ = 8192
_MOST_MADE = 512 * 512
# A size, a row of pads: constants of shapes. More of one number is better written as ConstantOfShape.
_MOST_FILLED = 1024

# fmt: off
_EVALUATED = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos",
    "CumSum", "Div", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements",
    "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min",
    "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "Range", "Reciprocal", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND",
    "Sigmoid", "Sign", "Sin", "Slice", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Trilu",
    "Unsqueeze", "Where", "Xor",
})
# fmt: on
_RANDOM = frozenset({"Bernoulli", "Dropout", "Multinomial"})


def fold_constants(model: ir.Model) -> bool:
    """Evaluate constants, take out what has no effect and what nobody reads; whether anything went."""
    before = sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
    if model.functions:
        common.InlinePass()(model)
        model.functions.clear()
    inline_constant_ifs(model)
    drop_no_effect(model)
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        _fold(model, node)
    settle_reshapes(model)
    inline_constant_ifs(model)  # a condition may have become known
    common.RemoveUnusedNodesPass()(model)
    common.DeduplicateInitializersPass()(model)
    if not any(node.op_type in _RANDOM or node.op_type.startswith("Random") for node in model.graph):
        common.CommonSubexpressionEliminationPass()(model)
    common.NameFixPass()(model)
    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph)) != before


def _fold(model: ir.Model, node: ir.Node) -> None:
    if node.graph is None or node.domain not in ("", "ai.onnx") or not isinstance(node.graph, ir.Graph):
        return
    if node.op_type in ("Shape", "Size"):
        results: tuple[NDArray[Any], ...] | None = _size(node, main=node.graph is model.graph)
    elif node.op_type in _EVALUATED and all(v is None or queries.is_constant(v) for v in node.inputs):
        results = _evaluated(node, model.opset_imports.get("", 17))
    else:
        return
    if results is None or len(results) != len(node.outputs):
        return
    graph = node.graph
    for output, array in zip(node.outputs, results, strict=True):
        tensor = ir.Tensor(array, name=output.name)
        value = ir.Value(name=output.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        if output.is_graph_output() and graph is not model.graph:
            return  # a graph inside gives values that a node of its own makes
        output.name = f"{value.name}.computed"
        graph.register_initializer(value)
        ir.convenience.replace_all_uses_with(output, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _size(node: ir.Node, *, main: bool) -> tuple[NDArray[Any], ...] | None:
    """Sizes that are known, of values outside of loops: within one, they may change from turn to turn."""
    shape = None if node.inputs[0] is None or not main else queries.dims(node.inputs[0])
    if shape is None:
        return None
    start, end = (node.attributes[key].as_int() if key in node.attributes else None for key in ("start", "end"))
    part = shape[start:end] if node.op_type == "Shape" else shape
    if None in part:
        return None
    sizes = np.array(part, np.int64)
    return (sizes if node.op_type == "Shape" else np.array(math.prod(part), np.int64),)  # type: ignore[arg-type]


def _evaluated(node: ir.Node, opset: int) -> tuple[NDArray[Any], ...] | None:
    tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in node.inputs]
    if any(t is not None and t.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) for t in tensors):
        return None
    sizes = [t.size for t in tensors if t is not None]
    read, largest = sum(sizes), max(sizes, default=0)
    if largest > _MOST_READ and not (node.op_type == "Transpose" and _alone(node)):
        return None
    arrays = [None if t is None else t.numpy() for t in tensors]
    if any(a is not None and a.dtype.kind not in "fiub" for a in arrays) or _undefined(node, arrays):
        return None
    made = _makes(node, arrays)
    if made > (_MOST_FILLED if node.op_type == "ConstantOfShape" else max(_MOST_MADE, read)):
        return None
    attributes = {name: _plain(attribute) for name, attribute in node.attributes.items()}
    try:
        operator = onnx.reference.ops.load_op("", node.op_type, opset)
        with np.errstate(all="ignore"):
            results = operator.eval(*arrays, **attributes)
    except Exception:  # the evaluator raises whatever NumPy does: an engine is to say it
        return None
    results = results if isinstance(results, tuple | list) else (results,)
    found = tuple(np.asarray(r) for r in results)
    kinds = [output.dtype for output in node.outputs]
    same = all(k is None or a.dtype == k.numpy() for a, k in zip(found, kinds, strict=False))
    return found if same else None


def _alone(node: ir.Node) -> bool:
    return node.inputs[0] is not None and len(node.inputs[0].uses()) == 1


def _plain(attribute: ir.Attr) -> Any:
    return ir.serde.serialize_tensor(attribute.as_tensor()) if attribute.name == "value" else attribute.value


def _undefined(node: ir.Node, arrays: list[NDArray[Any] | None]) -> bool:
    """Whether engines may differ: an integer divided by zero, a number cast to an integer that cannot hold it."""
    if node.op_type in ("Div", "Mod") and arrays[1] is not None:
        return arrays[1].dtype.kind in "iu" and not bool(arrays[1].all())
    if node.op_type not in ("Cast", "CastLike") or arrays[0] is None or arrays[0].dtype.kind != "f":
        return False
    target = node.outputs[0].dtype
    kind = None if target is None else target.numpy()
    if kind is None or kind.kind not in "iu":
        return kind is None
    limits = np.iinfo(kind)
    return not bool(((arrays[0] >= limits.min) & (arrays[0] <= limits.max)).all())


def _makes(node: ir.Node, arrays: list[NDArray[Any] | None]) -> float:
    """How many numbers the result may hold. Inference counts in integers that overflow, so growth is counted here."""
    given = [a for a in arrays if a is not None]
    match node.op_type:
        case "Expand" | "Tile":
            return float(given[0].size * np.abs(given[1].astype(np.float64)).prod())
        case "ConstantOfShape":
            return float(given[0].astype(np.float64).prod())
        case "Range":
            start, limit, delta = (float(a.reshape(-1)[0]) for a in given)
            return abs((limit - start) / delta) if delta else math.inf
        case "OneHot":
            return float(given[0].size * float(given[1].reshape(-1)[0]))
        case "Pad":
            return math.prod(float(s) + float(np.abs(given[1].astype(np.float64)).sum()) for s in given[0].shape)
        case "Concat":
            return float(sum(a.size for a in given))
    known = [None if (s := queries.dims(v)) is None or None in s else queries.numel(v) for v in node.outputs]
    if None not in known:
        return float(sum(size for size in known if size is not None))
    return float(math.prod(max(a.size, 1) for a in given))
