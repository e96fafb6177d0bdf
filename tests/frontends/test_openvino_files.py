"""Damaged, foreign and hostile files end in one line that says what is wrong; nothing of them reaches memory first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from openvino_nets import Net

from fewbits.errors import ModelError
from fewbits.frontends.openvino import load
from fewbits.frontends.openvino.wire import WireError, check_graph_def, fields
from models import check, on_onnxruntime

openvino = pytest.importorskip("openvino")
opset = openvino.opset15


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field of less than 16 KiB."""
    low, high = len(payload) & 0x7F, len(payload) >> 7
    return bytes([number << 3 | 2, low | 0x80, high]) + payload


def node(name: str, kind: str, *inputs: str) -> bytes:
    parts = field(1, name.encode()) + field(2, kind.encode())
    return field(1, parts + b"".join(field(3, given.encode()) for given in inputs))


@pytest.fixture
def ir_file(tmp_path: Path) -> Path:
    net = Net()
    made = opset.relu(opset.matmul(net.x(2, 8), opset.constant(net.w(8, 16)), False, False))
    return net.save(made, tmp_path / "net.xml")


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


def cut_weights(path: Path) -> None:
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-4])


def weights_elsewhere(path: Path) -> None:
    weights = path.with_suffix(".bin")
    other = path.parent.parent / f"{path.parent.name}.bin"
    other.write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(other)


def circle(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("<edges>", '<edges><edge from-layer="3" from-port="1" to-layer="2" to-port="0"/>'),
        encoding="utf-8",
    )


DOCTYPE = '<!DOCTYPE n [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]><net name="&b;"'
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut weights": (cut_weights, "cut off"),
    "no weights": (lambda path: path.with_suffix(".bin").unlink(), "missing"),
    "weights elsewhere": (weights_elsewhere, "outside the model's folder"),
    "far offset": (replaced('offset="0"', 'offset="99999999999999"'), "cut off"),
    "negative offset": (replaced('offset="0"', 'offset="-8"'), "weights at -8"),
    "endless number": (replaced('offset="0"', f'offset="{"9" * 5000}"'), "is not a number"),
    "entities": (replaced("<net ", DOCTYPE + " x="), "document type"),
    "cut text": (lambda path: path.write_bytes(path.read_bytes()[:900]), "not XML, or cut off"),
    "no text": (lambda path: path.write_bytes(b""), "not XML, or cut off"),
    "old": (replaced('version="11"', 'version="7"'), "IR version 7"),
    "not an IR": (lambda path: path.write_text("<svg><path/></svg>", encoding="utf-8"), "not an OpenVINO IR"),
    "nested": (lambda path: path.write_text("<net version='11'>" + "<a>" * 500, encoding="utf-8"), "nested"),
    "circle": (circle, "circle"),
    "negative size": (replaced("<dim>2</dim>", "<dim>-5</dim>"), "OpenVINO cannot read it"),
    "unknown operation": (replaced('type="ReLU"', 'type="Frobnicate"'), "OpenVINO cannot read it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ir_is_one_line(ir_file: Path, damage: str) -> None:
    change, expected = DAMAGES[damage]
    load(ir_file)
    change(ir_file)
    with pytest.raises(ModelError, match=expected) as caught:
        load(ir_file)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert str(ir_file) in str(caught.value)


FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "tflite of zeros": ("m.tflite", bytes(64), "not a TensorFlow Lite model"),
    "tflite short": ("m.tflite", b"\x1c\0\0\0TF", "not a TensorFlow Lite model"),
    "tflite with its root outside": ("m.tflite", b"\xff\xff\xff\x7fTFL3" + bytes(64), "not a TensorFlow Lite model"),
    "tflite of random bytes": (
        "m.tflite",
        b"\x1c\0\0\0TFL3" + np.random.default_rng(0).bytes(400),
        "OpenVINO cannot read it",
    ),
    "graph of text": ("m.pb", b"node { name: 'x' op: 'Placeholder' }", "protobuf"),
    "graph of nothing": ("m.pb", b"", "no nodes"),
    "graph cut": ("m.pb", node("x", "Placeholder")[:-3], "cut off"),
    "graph in a circle": (
        "m.pb",
        node("x", "Placeholder") + node("a", "AddV2", "x", "b") + node("b", "Relu", "a"),
        "circle",
    ),
    "graph of unknown operations": (
        "m.pb",
        node("x", "Placeholder") + node("a", "Frobnicate", "x"),
        "OpenVINO cannot read it|cannot be converted",
    ),
    "a part of a SavedModel": ("saved_model.pb", node("x", "Placeholder"), "name its folder"),
    "paddle of random bytes": ("m.pdmodel", b"\xff" * 40, "protobuf"),
    "another kind": ("m.weights", b"", "OpenVINO reads no"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_one_line(tmp_path: Path, case: str) -> None:
    name, content, expected = FOREIGN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=expected) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_is_a_saved_model_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no saved_model\.pb"):
        load(tmp_path)
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(field(2, b""))
    (tmp_path / "secret").write_bytes(b"0")
    (folder / "variables" / "variables.index").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load(folder)
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "nowhere.xml")


def test_the_wire_by_hand() -> None:
    found = [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(b"\x08\x96\x01\x12\x02hi"))]
    assert found == [(1, 150), (2, b"hi")]
    for damaged in (b"\x08", b"\x12\x05hi", b"\x00\x00", b"\x0b", b"\x08" + b"\xff" * 11):
        with pytest.raises(WireError):
            list(fields(memoryview(damaged)))
    check_graph_def(memoryview(node("a", "X") + node("b", "Y", "a:0", "^a")))


@pytest.mark.parametrize("kind", ["If", "Loop", "TensorIterator"])
def test_bodies_are_refused_with_a_reason(tmp_path: Path, kind: str) -> None:
    net = Net()
    x = net.x(3, 4)
    inner = opset.parameter([3, 4], np.float32)
    body = openvino.Model([opset.result(opset.relu(inner))], [inner], "body")
    if kind == "If":
        made = opset.if_op(net.x(dtype=np.bool_))
        made.set_then_body(body)
        other = body.clone()
        made.set_else_body(other)
        made.set_input(x.output(0), inner, other.get_parameters()[0])
        made.set_output(body.get_results()[0], other.get_results()[0])
    elif kind == "Loop":
        condition = opset.result(opset.constant(np.array(True)))
        body = openvino.Model([*body.get_results(), condition], [inner], "body")
        made = opset.loop(opset.constant(np.array(3, np.int32)), opset.constant(np.array(True)))
        made.set_function(body)
        made.set_special_body_ports([-1, 1])
        made.set_merged_input(inner, x.output(0), body.get_results()[0].output(0))
        made.get_iter_value(body.get_results()[0].output(0), -1)
    else:
        made = opset.tensor_iterator()
        made.set_body(body)
        made.set_invariant_input(inner, x.output(0))
        made.get_iter_value(body.get_results()[0].output(0), -1)
    path = net.save(made.output(0), tmp_path / "net.xml")
    with pytest.raises(ModelError, match=rf"{kind} \(opset\d+\) .*body of its own"):
        load(path)


def test_what_has_no_counterpart_is_named(tmp_path: Path) -> None:
    net = Net()
    made = opset.pad(net.x(3, 4), opset.constant(np.array([1, 0])), opset.constant(np.array([0, 1])), "symmetric")
    made.set_friendly_name("mirror")
    with pytest.raises(ModelError, match=r"Pad \(opset12\) mirror.*mirror order.*- export"):
        load(net.save(made, tmp_path / "net.xml"))
    net = Net()
    made = opset.bucketize(net.x(3, 4), opset.constant(np.array([1.0, 2.0], np.float32)))
    with pytest.raises(ModelError, match=r"Bucketize \(opset3\).*cannot be converted"):
        load(net.save(made, tmp_path / "other.xml"))


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    net = Net()
    one = opset.constant(np.zeros((1,), np.float32))
    huge = opset.broadcast(one, opset.constant(np.array([1 << 33], np.int64)))
    picked = opset.gather(huge, opset.constant(np.array([0])), opset.constant(np.array(0)))
    with pytest.raises(ModelError, match=r"Broadcast \(opset\d+\).*would grow to \(8589934592,\)"):
        load(net.save(opset.add(net.x(1), picked), tmp_path / "net.xml"))


def test_names_of_values_with_two_duties(tmp_path: Path) -> None:
    """An input that is an output, a constant that is one, and two outputs of one value all keep their names."""
    net = Net()
    x = net.x(-1, 4)
    library = openvino
    relu = opset.relu(x)
    relu.set_friendly_name("activation")
    fixed = opset.constant(net.w(2))
    results = [opset.result(read.output(0)) for read in (x, relu, relu, fixed)]
    model = library.Model(results, net.parameters, "net")
    library.serialize(model, str(tmp_path / "net.xml"))
    loaded = load(tmp_path / "net.xml")
    check(loaded)
    names = [value.name for value in loaded.graph.outputs]
    assert len(set(names)) == 4
    assert "activation" in [node.name for node in loaded.graph]
    found = on_onnxruntime(loaded, net.feeds)
    np.testing.assert_array_equal(found[names[0] or ""], net.feeds["x0"])
    np.testing.assert_array_equal(found[names[1] or ""], np.maximum(net.feeds["x0"], 0))
    np.testing.assert_array_equal(found[names[2] or ""], np.maximum(net.feeds["x0"], 0))
