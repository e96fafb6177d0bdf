"""Model files: whole or not at all, never weights from elsewhere, and a sentence for everything unreadable."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from fewbits.errors import ModelError, OutputError
from fewbits.files import whole_folder
from fewbits.frontends import load
from fewbits.graph import files
from models import conv_relu_conv, feed, oracle, proto


def small() -> onnx.ModelProto:
    return proto("g (float[1,3] x) => (float[1,3] y) { y = Add(x, w) }", w=(3,))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_saved_model_computes_the_same(tmp_path: Path) -> None:
    model = conv_relu_conv()
    path = tmp_path / "new" / "folder" / "m.onnx"
    files.save_onnx(model, path)
    assert snapshot(path.parent).keys() == {"m.onnx"}
    inputs = feed(model)
    np.testing.assert_array_equal(oracle(onnx.load(path), inputs)["y"], oracle(model, inputs)["y"])
    assert files.file_bytes(path) == path.stat().st_size


def test_weights_beyond_one_message_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ONE_MESSAGE_BYTES", 100)
    model = conv_relu_conv()
    path = tmp_path / "m.onnx"
    files.save_onnx(model, path)
    assert snapshot(tmp_path).keys() == {"m.onnx", "m.onnx.data"}
    assert files.file_bytes(path) == path.stat().st_size + (tmp_path / "m.onnx.data").stat().st_size
    again = load(path)
    # The model read from the file can be written over that same file.
    files.save_onnx(again, path)
    np.testing.assert_array_equal(oracle(onnx.load(path), feed(model))["y"], oracle(model, feed(model))["y"])
    with files.as_file(model) as handed:
        assert {p.name for p in handed.parent.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert not handed.exists()


@pytest.mark.parametrize("before", [b"", b"what was there"])
def test_an_error_while_writing_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    path = tmp_path / "m.onnx"
    if before:
        path.write_bytes(before)
    seen = snapshot(tmp_path)

    whole = Path.write_bytes

    def half(target: Path, content: bytes) -> None:
        whole(target, content[: len(content) // 2])
        raise OSError(28, os.strerror(28), str(target))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OutputError, match="no space left"):
        files.save_onnx(conv_relu_conv(), path)
    assert snapshot(tmp_path) == seen
    assert {p.name for p in tmp_path.iterdir()} == seen.keys()


def test_an_error_while_weights_are_written_beside_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(model: ir.Model, target: Path, *, external_data: str) -> None:
        target.with_name(external_data).write_bytes(b"half the weights")
        raise OSError(28, os.strerror(28), str(target))

    monkeypatch.setattr(files, "_ONE_MESSAGE_BYTES", 100)
    monkeypatch.setattr(ir, "save", half)
    with pytest.raises(OutputError, match="no space left"):
        files.save_onnx(conv_relu_conv(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_two_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "m.xml") as scratch:
        (scratch / "m.bin").write_bytes(b"1")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "below a file"])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path if place == "folder" else tmp_path / "file" / "m.onnx"
    with pytest.raises(OutputError, match=str(path)) as caught:
        files.save_onnx(conv_relu_conv(), path)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


def outside(kind: str, location: str) -> onnx.ModelProto:
    """A model one of whose tensors lies in a file of its own."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[3])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model = small()
    del model.graph.initializer[:]
    if kind == "initializer":
        model.graph.initializer.append(tensor)
    elif kind == "constant node":
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    else:
        branch = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["w"], ["o"])],
            "b",
            [],
            [onnx.helper.make_tensor_value_info("o", 1, [3])],
            [tensor],
        )
        yes = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
        model.graph.initializer.append(yes)
        del model.graph.node[:]
        model.graph.node.append(onnx.helper.make_node("If", ["yes"], ["i"], then_branch=branch, else_branch=branch))
        model.graph.node.append(onnx.helper.make_node("Add", ["x", "i"], ["y"]))
    return model


@pytest.mark.parametrize("kind", ["initializer", "constant node", "subgraph"])
@pytest.mark.parametrize("how", ["parent", "absolute", "link"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, kind: str, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(3, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    location = {"parent": "../secret", "absolute": str(secret), "link": "link"}[how]
    if how == "link":
        (folder / "link").symlink_to(secret)
    path = folder / "m.onnx"
    path.write_bytes(outside(kind, location).SerializeToString())
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    if kind == "initializer":  # of the others ONNX's checker says it in its words
        assert "outside the model's folder" in str(caught.value)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(outside("initializer", "weights.bin").SerializeToString())
    with pytest.raises(ModelError, match=r"weights\.bin is missing"):
        files.read_proto(path)


@pytest.mark.parametrize("name", ["m.onnx.data", "m.onnx_data", "weights.bin"])
def test_a_models_size_counts_its_weights_whatever_their_file_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    (tmp_path / name).write_bytes(bytes(12))
    path.write_bytes(outside("initializer", name).SerializeToString())
    assert files.file_bytes(path) == path.stat().st_size + 12


def test_an_irs_size_is_both_its_files(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(bytes(5))
    (tmp_path / "m.bin").write_bytes(bytes(7))
    (tmp_path / "other.bin").write_bytes(bytes(100))
    assert files.file_bytes(tmp_path / "m.xml") == 12
