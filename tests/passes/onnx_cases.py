"""ONNX's own example of every operator, with neighbours before and behind it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
OPSETS = (17, 18, 19, 20, 21, 22, 23, 24)
# Enough for the forms an operator has: with and without optional inputs and outputs.
_EXAMPLES = 2


@dataclass(frozen=True)
class Example:
    """A model of one operator between multiplications by 1, and what to feed it."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Any]


def operators() -> list[str]:
    """All operators of ONNX that have, in some opset, a float among their inputs or outputs."""
    found = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        formal = (*schema.inputs, *schema.outputs)
        if schema.domain == "" and not schema.deprecated and any("float)" in t for f in formal for t in f.types):
            found.add(schema.name)
    return sorted(found)


def versions(op_type: str) -> list[int]:
    """The opsets, of those tried, from which the operator has a meaning of its own."""
    known: dict[int, int] = {}
    for opset in OPSETS:
        try:
            schema = onnx.defs.get_schema(op_type, opset, "")
        except onnx.defs.SchemaError:
            continue
        if not schema.deprecated:
            known.setdefault(schema.since_version, opset)
    return list(known.values())


def examples(op_type: str, opset: int) -> Iterator[Example]:
    """Some examples that are valid in this opset."""
    taken = 0
    for name, model, feeds in _all().get(op_type, ()):
        wrapped = _between_neighbours(model, opset)
        if len(wrapped.graph.node) == 1 or "float16" in name:
            continue  # nothing in it is FP32
        try:
            onnx.checker.check_model(wrapped, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue
        yield Example(name, wrapped, dict(zip([i.name for i in wrapped.graph.input], feeds, strict=False)))
        taken += 1
        if taken == _EXAMPLES:
            return


@functools.cache
def _all() -> dict[str, list[tuple[str, onnx.ModelProto, list[Any]]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found: dict[str, list[tuple[str, onnx.ModelProto, list[Any]]]] = {}
        for case in collect_testcases(None):
            if case.model is None or not case.data_sets or case.name.endswith("_expanded"):
                continue
            feeds = [v if isinstance(v, list) or v is None else np.asarray(v) for v in case.data_sets[0][0]]
            if len(case.model.graph.node) == 1:
                found.setdefault(case.model.graph.node[0].op_type, []).append((case.name, case.model, feeds))
    return found


def _between_neighbours(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for entry in made.opset_import:
        if entry.domain == "":
            entry.version = opset
    graph, node = made.graph, made.graph.node[0]
    before, behind = [], []
    for value in graph.input:
        if _is_float(value):
            before.append(helper.make_node("Mul", [value.name, "one"], [f"{value.name}.in"]))
            node.input[:] = [f"{name}.in" if name == value.name else name for name in node.input]
    for value in graph.output:
        if _is_float(value):
            behind.append(helper.make_node("Mul", [f"{value.name}.out", "one"], [value.name]))
            node.output[:] = [f"{name}.out" if name == value.name else name for name in node.output]
    nodes = [*before, *graph.node, *behind]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    return made


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type == FLOAT
