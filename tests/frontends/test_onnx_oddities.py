"""Files that engines run though something about them is odd: read right, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from opset_cases import node, read, run, same

from fewbits.errors import ModelError
from fewbits.passes import simplify
from models import Array, f32, i64

X = np.linspace(-1, 2, 10, dtype=np.float32).reshape(2, 5)
RELU = node("Relu", "x")
FLOAT, TEXT = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING


def info(name: str, shape: tuple[int | str, ...] | None = (2, 5), kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    outputs: list[onnx.ValueInfoProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
    claims: list[onnx.ValueInfoProto] | None = None,
    opset: int = 17,
    **constants: Array,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs or [info("x")], outputs or [info("y")], tensors, value_info=claims)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def with_(proto: onnx.ModelProto, change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    change(proto)
    return proto


def constant(**value: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], **value)


def sparse(name: str, indices: Array) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(f32(3, 4), name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(indices, f"{name}_at"), [2, 5])


def named(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    for one, name in zip(proto.graph.node, names, strict=True):
        one.name = name
    return proto


def of_ir_3(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.ir_version = 3
    proto.graph.input.extend(info(t.name, tuple(t.dims), t.data_type) for t in proto.graph.initializer)
    return proto


ADD_C = node("Add", "x c")
SUM_C = [node("Cast", "c", "d", to=FLOAT), node("Reshape", "d m", "e"), node("ReduceSum", "e", "f", keepdims=0)]
READ: dict[str, onnx.ModelProto] = {
    "an input that is an output": model([RELU], [info("y"), info("x")]),
    "an input that is an output of free sizes": model([RELU], [info("y"), info("x", ("A", "B"))]),
    "nothing but an input that is an output": model([RELU], [info("x")]),
    "an output that is a weight": model([RELU], [info("y"), info("w")], w=X),
    "an output that is a computed constant": model([RELU, node("Neg", "w", "c")], [info("y"), info("c")], w=X),
    "an output of a Constant node": model([RELU, constant(value_floats=[1.0, 2.0])], [info("y"), info("c", (2,))]),
    "two outputs of one value": model([RELU, node("Identity", "y", "z")], [info("y"), info("z")]),
    "an output without a shape": model([RELU], [info("y", None)]),
    "an output without a type": with_(model([RELU]), lambda m: m.graph.output[0].ClearField("type")),
    "an output of another rank than claimed": model([RELU], [info("y", (2, 5, 1))]),
    "an output of another size than claimed": model([RELU], [info("y", (7, 7))]),
    "a value of another size than claimed": model(
        [node("Relu", "x", "r"), node("Expand", "r s", "e"), node("Sigmoid", "e", "y")],
        [info("y", (4, 5))], [info("x", (1, 5))], [info("r", (4, 5)), info("e", (9, 9))], s=i64(4, 5)),
    "a value of another rank than claimed": model(
        [node("Relu", "x", "r"), node("Reshape", "r s")], [info("y", (5, 2))], None, [info("r", (5, 2))], s=i64(5, 2)),
    "initializers that are inputs": of_ir_3(model([node("Gemm", "x w b")], [info("y", (2, 3))], None, None, 8,
                                                  w=np.ones((5, 3), np.float32), b=f32(1, 2, 3))),
    "an input left out": model([node("Clip", "x - m")], m=np.float32(0.5)),
    "sizes of -1": model([RELU], [info("y", (-1, 5))], [info("x", (-1, 5))]),
    "names with odd characters": model([helper.make_node("Relu", ["in put é"], ["a/b:0;\"<>"])],
                                       [info("a/b:0;\"<>")], [info("in put é")]),
    "an input nobody reads": model([RELU], None, [info("x"), info("u", (3,))]),
    "a graph without a name": with_(model([RELU]), lambda m: m.graph.ClearField("name")),
    "a sparse weight": with_(model([node("Add", "x w")]),
                             lambda m: m.graph.sparse_initializer.append(sparse("w", i64(1, 8)))),
    "a sparse constant": model([constant(sparse_value=sparse("w", i64(0, 1, 1, 4).reshape(2, 2))), ADD_C]),
    "a constant float": model([constant(value_float=2.5), ADD_C]),
    "constant floats": model([constant(value_floats=[1.0, 2.0, 3.0, 4.0, 5.0]), ADD_C]),
    "a constant tensor": model([constant(value=numpy_helper.from_array(X)), ADD_C]),
    "a constant int": model([constant(value_int=3), *SUM_C, node("Add", "x f")], m=i64(-1)),
    "constant ints": model([constant(value_ints=[2, 5]), *SUM_C, node("Add", "x f")], m=i64(-1)),
    "a text nobody is given": model([constant(value_string=b"hi"), node("Shape", "c", "s"), RELU]),
    "texts nobody is given": model([constant(value_strings=[b"hi", b"ho"]), node("Size", "c", "s"),
                                    node("Cast", "s", "f", to=FLOAT), node("Add", "x f")]),
    "a spectrum of one side": model([node("STFT", "x t - l")], [info("y", None)], [info("x", (1, 36, 1))],
                                    t=np.int64(2), l=np.int64(8)),
    "a scalar": model([node("Add", "x s")], None, [info("x"), info("s", ())]),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_it_computes_what_the_file_does(tmp_path: Path, what: str) -> None:
    proto = READ[what]
    given = {tensor.name for tensor in proto.graph.initializer}
    feeds: dict[str, Array] = {}
    for value in proto.graph.input:
        dims = [d.dim_value if d.dim_value > 0 else 2 for d in value.type.tensor_type.shape.dim]
        if value.name not in given:
            feeds[value.name] = np.linspace(-1, 2, int(np.prod(dims)), dtype=np.float32).reshape(dims)
    expected = run(proto, feeds)
    loaded = read(proto, tmp_path)
    assert [v.name for v in loaded.graph.inputs] == list(feeds)
    declared = [v.type.tensor_type.shape for v in proto.graph.input if v.name not in given]
    for value, shape in zip(loaded.graph.inputs, declared, strict=True):
        assert [n for n in value.shape or () if isinstance(n, int)] == [
            d.dim_value for d in shape.dim if d.dim_value > 0
        ]
    for one in (loaded, simplify(loaded)):
        assert [v.name for v in one.graph.outputs] == [v.name for v in proto.graph.output]
        same(run(ir.to_proto(one), feeds), expected)
        for value, array in zip(one.graph.outputs, expected, strict=True):
            assert value.shape is not None
            assert len(value.shape) == array.ndim
            assert all(
                not isinstance(size, int) or size == got for size, got in zip(value.shape, array.shape, strict=True)
            )


def test_nodes_of_one_name(tmp_path: Path) -> None:
    """No engine takes them; the answer is what they say."""
    proto = named(model([node("Relu", "x", "r"), node("Neg", "r", "y")]), "same", "same")
    loaded = read(proto, tmp_path)
    assert len({n.name for n in loaded.graph}) == 2
    same(run(ir.to_proto(loaded), {"x": X}), [-np.maximum(X, 0)])


def test_sizes_of_0_are_free(tmp_path: Path) -> None:
    loaded = read(model([RELU], [info("y", (0, 5))], [info("x", (0, 5))]), tmp_path)
    same(run(ir.to_proto(loaded), {"x": X}), [np.maximum(X, 0)])


def test_a_claim_is_kept_where_nothing_else_is_known(tmp_path: Path) -> None:
    """An operator of an engine's own has no inference."""
    own = helper.make_node("Gelu", ["x"], ["h"], domain="com.microsoft")
    proto = model([own, node("Relu", "h", "y")], None, None, [info("h")])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    loaded = read(proto, tmp_path)
    assert [tuple(v.shape or ()) for n in loaded.graph for v in n.outputs] == [(2, 5), (2, 5)]
    same(run(ir.to_proto(loaded), {"x": X}), run(proto, {"x": X}))


def test_an_output_that_is_an_input_has_the_sizes_of_the_input(tmp_path: Path) -> None:
    loaded = read(model([RELU], [info("y"), info("x", ("a", "b"))]), tmp_path)
    assert str(loaded.graph.inputs[0].shape) == "[2,5]"


@pytest.mark.parametrize("opset", [18, 20])
def test_group_normalization_is_read_in_the_opset_that_brought_it(opset: int, tmp_path: Path) -> None:
    """Though the checker calls it deprecated there; scale and bias are those of the groups."""
    proto = model(
        [node("GroupNormalization", "x s b", num_groups=2)],
        [info("y", (2, 4, 3))],
        [info("x", (2, 4, 3))],
        opset=opset,
        s=f32(0.5, 2),
        b=f32(-1, 1),
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    same(run(ir.to_proto(read(proto, tmp_path)), {"x": x}), run(proto, {"x": x}))


def test_free_sizes_of_outputs_keep_their_names(tmp_path: Path) -> None:
    nodes = [node("NonZero", "x", "n"), node("Cast", "n", "y", to=FLOAT)]
    loaded = read(model(nodes, [info("y", (2, "found"))]), tmp_path)
    assert str(loaded.graph.outputs[0].shape) == "[2,found]"


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "no nodes": (model([], [info("x")]), "no graph"),
    "nodes out of order": (model([node("Neg", "r", "y"), node("Relu", "x", "r")]), "sorted"),
    "an input without a shape": (model([RELU], None, [info("x", None)]), "shape"),
    "one name for two inputs": (model([RELU], None, [info("x"), info("x")]), "x"),
    "a weight a node makes": (model([RELU], y=X), "y"),
    "a text output": (model([constant(value_string=b"hi"), RELU], [info("y"), info("c", (), TEXT)]), "text"),
    "a text input": (model([RELU], None, [info("x"), info("t", (1,), TEXT)]), "text"),
    "no IR version": (with_(model([RELU]), lambda m: m.ClearField("ir_version")), "ir_version"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    proto, says = REFUSED[what]
    with pytest.raises(ModelError, match=says) as caught:
        read(proto, tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
