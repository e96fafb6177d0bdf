"""Old operators where they hide: in local functions of any operator set, and in the graphs of If, Loop and Scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from opset_cases import FLOAT, agrees, build, node, numbers, read

from fewbits.errors import ModelError
from models import Arrays, f32, i64

X = numbers(2, 3, 4)
FEEDS = {"x": X}


def function(
    name: str, opset: int, nodes: list[onnx.NodeProto], attributes: tuple[str, ...] = ()
) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["p"], ["q"], nodes, imports, list(attributes))


def call(name: str, given: str, made: str, **attributes: object) -> onnx.NodeProto:
    return node(name, given, made, domain="own", **attributes)


def by_attribute(op: str, attribute: str, kind: int) -> onnx.NodeProto:
    """An operator whose attribute is one of the function it stands in."""
    made = node(op, "p", "q")
    made.attribute.add(name=attribute, ref_attr_name=attribute, type=kind)
    return made


@pytest.mark.parametrize("opset", range(8, 18))
def test_functions_become_nodes_at_every_opset(tmp_path: Path, opset: int) -> None:
    inner = function("Inner", opset, [node("Softmax", "p", "s", axis=1), node("Relu", "s", "q")])
    outer = function("Outer", opset, [call("Inner", "p", "q")])
    model = build([call("Outer", "x", "a"), call("Inner", "a", "y")], opset, FEEDS, functions=[inner, outer])
    loaded = agrees(model, FEEDS, tmp_path)
    assert len({v.name for n in loaded.graph for v in n.outputs}) == len(list(loaded.graph))


@pytest.mark.parametrize("opset", [12, 13, 17])
@pytest.mark.parametrize("axis", [1, 2])
def test_attributes_of_functions_reach_their_operators(tmp_path: Path, opset: int, axis: int) -> None:
    soft = function("Soft", opset, [by_attribute("Softmax", "axis", onnx.AttributeProto.INT)], ("axis",))
    model = build([call("Soft", "x", "a", axis=axis), call("Soft", "a", "y", axis=2)], opset, FEEDS, functions=[soft])
    agrees(model, FEEDS, tmp_path)


@pytest.mark.parametrize(("of_model", "of_function"), [(12, 11), (16, 14), (13, 17), (21, 17)])
def test_functions_of_another_opset_than_the_model(tmp_path: Path, of_model: int, of_function: int) -> None:
    kept = function("Kept", of_function, [node("Relu" if of_model < 13 else "Softmax", "p", "q")])
    model = build([node("Softmax", "x", "a", axis=1), call("Kept", "a", "y")], of_model, FEEDS, functions=[kept])
    assert agrees(model, FEEDS, tmp_path).opset_imports[""] == max(of_model, 17)


def test_functions_that_mean_something_else_in_the_models_opset_are_refused(tmp_path: Path) -> None:
    """Engines run them as of the model's operator set, whatever the function says."""
    given = function("Soft", 12, [node("Softmax", "p", "q", axis=1)])
    with pytest.raises(ModelError, match="Softmax"):
        read(build(call("Soft", "x", "y"), 17, FEEDS, functions=[given]), tmp_path)


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    again = function("Again", 17, [call("Again", "p", "q")])
    with pytest.raises(ModelError) as caught:
        read(build(call("Again", "x", "y"), 17, FEEDS, functions=[again]), tmp_path)
    assert caught.value.exit_code == 2


def branch(name: str, nodes: list[onnx.NodeProto], result: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(result, FLOAT, None)])


@pytest.mark.parametrize("opset", [7, 10, 11, 12, 13, 16])
@pytest.mark.parametrize("taken", [True, False])
def test_nodes_inside_if(tmp_path: Path, opset: int, taken: bool) -> None:
    """Both branches use the same names, read values of the graph around them, and hold another If."""
    small = branch(
        "small", [node("Clip", "t", "u", min=-0.5, max=0.5)] if opset < 11 else [node("Relu", "t", "u")], "u"
    )
    large = branch("large", [node("Identity", "t", "u")], "u")
    deep = helper.make_node("If", ["c"], ["v"], then_branch=small, else_branch=large)
    one = branch("one", [node("Softmax", "h", "t", axis=1), deep], "v")
    two = branch("two", [node("LogSoftmax", "h", "t", axis=1)], "t")
    nodes = [node("Relu", "x", "h"), helper.make_node("If", ["c"], ["y"], then_branch=one, else_branch=two)]
    feeds: Arrays = {"x": X, "c": np.array(taken)}
    agrees(build(nodes, opset, feeds), feeds, tmp_path)


@pytest.mark.parametrize("opset", [8, 11, 12, 13])
def test_nodes_inside_loop(tmp_path: Path, opset: int) -> None:
    body = helper.make_graph(
        [node("Identity", "c", "d"), node("Softmax", "s", "m", axis=1), node("Add", "m h", "t"),
         node("Dropout", "t", "o")],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []),
         helper.make_tensor_value_info("s", 1, [2, 3, 4])],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("t", 1, [2, 3, 4]),
         helper.make_tensor_value_info("o", 1, [2, 3, 4])],
    )  # fmt: skip
    nodes = [node("Relu", "x", "h"), helper.make_node("Loop", ["n", "", "x"], ["l", "y"], body=body)]
    agrees(build(nodes, opset, FEEDS, {"n": np.int64(3)}, outputs="l y"), FEEDS, tmp_path)


def scanned(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    kinds = [helper.make_tensor_value_info(name, 1, [3]) for name in ("s", "e", "t", "o")]
    return helper.make_graph(nodes, "body", kinds[:2], kinds[2:])


def test_scan_over_a_batch(tmp_path: Path) -> None:
    """Version 8 runs over each sample of a batch, forwards or backwards."""
    feeds = {"x": numbers(2, 5, 3), "a": numbers(2, 3)}
    for directions in ({}, {"directions": [1]}):
        body = scanned([node("Add", "s e", "t"), node("Mul", "t e", "o")])
        scan = helper.make_node("Scan", ["", "a", "x"], ["y", "z"], body=body, num_scan_inputs=1, **directions)
        agrees(build(scan, 8, feeds, outputs="y z"), feeds, tmp_path)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_nodes_inside_scan(tmp_path: Path, opset: int) -> None:
    nodes = [node("Add", "s e", "t"), node("Softmax", "t", "u", axis=0), node("Relu", "u", "o")]
    feeds = {"x": numbers(5, 3), "a": numbers(3)}
    scan = helper.make_node("Scan", ["a", "x"], ["y", "z"], body=scanned(nodes), num_scan_inputs=1)
    agrees(build(scan, opset, feeds, outputs="y z"), feeds, tmp_path)


def test_only_the_import_changes_where_nothing_else_has_to(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Add", "r r", "y")]
    feeds = {"x": numbers(1, 2, 5, 5)}
    model = build(nodes, 7, feeds, {"w": numbers(3, 2, 3, 3)})
    loaded = agrees(model, feeds, tmp_path)
    assert [n.op_type for n in loaded.graph] == ["Conv", "Relu", "Add"]
    assert [v.name for n in loaded.graph for v in n.outputs] == ["c", "r", "y"]


def test_large_weights_beside_the_file_stay_there(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b", "g"), node("Softmax", "g", "s", axis=0), node("Clip", "s", "y", min=0.1)]
    feeds = {"x": numbers(2, 64)}
    constants = {"w": numbers(64, 64), "b": numbers(64)}
    model = build(nodes, 9, feeds, constants)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    from fewbits import frontends

    loaded = frontends.load(path)
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    agrees(build(nodes, 9, feeds, constants), feeds, tmp_path)


def test_made_names_are_not_taken_names(tmp_path: Path) -> None:
    nodes = [node("Softmax", "x", "y.flatten", axis=1), node("Softmax", "y.flatten", "y", axis=1)]
    agrees(build(nodes, 9, FEEDS), FEEDS, tmp_path)


def test_a_size_read_from_a_small_weight_beside_the_file(tmp_path: Path) -> None:
    feeds = {"x": numbers(1, 1, 4, 4), "k": i64(1)}
    nodes = [node("Upsample", "x s", "u", mode="nearest"), node("Cast", "k", "f", to=FLOAT), node("Mul", "u f", "y")]
    model = build(nodes, 9, feeds, {"s": f32(1, 1, 1.5, 1.5)})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    from fewbits import frontends

    loaded = frontends.load(path)
    assert [n.op_type for n in loaded.graph if n.op_type == "Resize"]
