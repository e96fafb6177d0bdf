"""The door tells files apart by what they hold, and what it cannot read it explains in one line."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

import fewbits
from fewbits.errors import InputError, ModelError
from fewbits.frontends import content, load
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from models import conv_pool, proto

ONNX = proto("g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }").SerializeToString()


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, written by hand: no TensorFlow, Caffe or Paddle is needed to know their first bytes."""

    def varint(n: int) -> bytes:
        return bytes([n & 0x7F | 0x80]) + varint(n >> 7) if n > 0x7F else bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


GRAPH_DEF = field(1, field(1, b"x") + field(2, b"Placeholder")) * 40 + field(4, field(1, 21))
PADDLE = field(1, field(1, 0) + field(2, 0) + field(3, b"x" * 300)) + field(4, field(1, 0))
CAFFEMODEL = field(1, b"net") + field(100, field(1, b"conv1") + field(2, b"Convolution"))
SAVED_MODEL = field(1, 1) + field(2, field(1, b"meta" * 200))


def archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            file.writestr(name, "{}")
    return made.getvalue()


def ir_xml(version: str) -> bytes:
    return f'<?xml version="1.0"?>\n<!-- made -->\n<net name="m" version="{version}"><layers/></net>'.encode()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("m.onnx", ONNX, Kind.ONNX),
        ("M.ONNX", ONNX, Kind.ONNX),
        ("m.pb", ONNX, Kind.ONNX),
        ("m.pb", GRAPH_DEF, Kind.TENSORFLOW),
        ("m.pdmodel", PADDLE, Kind.PADDLE),
        ("m.prototxt", b'name: "net"\nlayer { }', Kind.CAFFE),
        ("m.xml", ir_xml("2"), Kind.LEGACY_IR),
        ("m.xml", ir_xml("7"), Kind.LEGACY_IR),
        ("m.xml", ir_xml("9"), Kind.LEGACY_IR),
        ("m.xml", ir_xml("10"), Kind.OPENVINO),
        ("m.xml", b"\xef\xbb\xbf" + ir_xml("11"), Kind.OPENVINO),
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(64), Kind.TFLITE),
        ("m.pt2", archive("m/models/model.json", "m/archive_format"), Kind.TORCH),
        ("m.pt", archive("any name/models/model.json"), Kind.TORCH),
    ],
)
def test_content_and_name_say_the_kind(tmp_path: Path, name: str, data: bytes, kind: Kind) -> None:
    (tmp_path / name).write_bytes(data)
    assert identify(tmp_path / name) is kind


def test_a_saved_model_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "saved.v2"
    folder.mkdir()
    with pytest.raises(ModelError, match="this is a folder"):
        identify(folder)
    (folder / "saved_model.pb").write_bytes(SAVED_MODEL)
    assert identify(folder) is Kind.SAVED_MODEL


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("net.caffemodel", CAFFEMODEL, "deploy.prototxt --weights net.caffemodel"),
        ("net.caffemodel", b"", "deploy.prototxt --weights net.caffemodel"),
        ("net.bin", bytes(range(200, 256)), "net.xml"),
        ("net.pdiparams", b"\0", "net.pdmodel"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "keras.models.load_model('net.h5').export('net_savedmodel')"),
        ("net.keras", archive("config.json", "metadata.json", "model.weights.h5"), ".export('net_savedmodel')"),
        ("net.pt", archive("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"), "TorchScript"),
        ("net.pth", archive("net/data.pkl", "net/version"), "torch.export.save("),
        ("net.pth", pickle.dumps({"weight": 1}, 2), "pickle"),
        ("net.pt2", archive("net/data.pkl"), "'net.pt2'"),
        ("net.pt2", archive("readme.txt"), "zip archive"),
        ("net.pt2", archive("net/models/model.json")[:-30], "cut off"),
        ("net.pt2", b"PK\x03\x04" + bytes(100), "cut off"),
        ("net.pt2", b"no zip", "not an exported PyTorch program"),
        ("saved_model.pb", SAVED_MODEL, "folder"),
        ("net.pb", b"hello", "not a TensorFlow frozen graph"),
        ("net.pb", GRAPH_DEF[1:], "not a TensorFlow frozen graph"),
        ("net.tflite", GRAPH_DEF, "it looks like a TensorFlow frozen graph, not a TensorFlow Lite model"),
        ("net.tflite", bytes(64), "not a TensorFlow Lite model"),
        ("net.onnx", b"\x1c\0\0\0TFL3", "name it *.tflite"),
        ("net.onnx", ir_xml("11"), "it looks like an OpenVINO IR"),
        ("net.xml", ONNX, "it looks like an ONNX model"),
        ("net.xml", b"<opencv_storage/>", "not an OpenVINO IR"),
        ("net.xml", b'<!DOCTYPE net [<!ENTITY a "aa">]><net version="11" name="&a;"/>', "not an OpenVINO IR"),
        ("net.xml", b"<html><body>404</body></html>", "web page"),
        ("net.foo", ONNX, "it looks like an ONNX model: name it *.onnx"),
        ("net", b"", "give .onnx, .prototxt"),
        ("net.json", b"{}", "a SavedModel folder"),
    ],
)
def test_what_no_frontend_reads_is_explained(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        identify(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert says in message
    assert "\n" not in message
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="this is no file"):
        identify(tmp_path / "m.onnx")


def test_only_the_beginning_of_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:  # a sparse file with one field of 8 GiB
        file.write(field(1, 8) + b"\x3a" + b"\x80\x80\x80\x80\x20")
        file.truncate(9 << 30)
    read = 0
    plain = io.BufferedReader.read

    class Counting(io.BufferedReader):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            data = plain(self, size)
            read += len(data)
            return data

    monkeypatch.setattr(Path, "open", lambda self, mode: Counting(io.FileIO(self)))
    assert identify(path) is Kind.ONNX
    assert 0 < read < 2 * content.PREFIX_BYTES


def test_a_zip_with_an_absurd_list_is_refused_unread(tmp_path: Path) -> None:
    whole = bytearray(archive("m/models/model.json") + b"")
    path = tmp_path / "m.pt2"
    end = whole.rindex(b"PK\x05\x06")
    list_bytes = (1 << 22) + 1
    whole[end + 12 : end + 16] = list_bytes.to_bytes(4, "little")
    path.write_bytes(bytes(whole[:end]) + bytes(list_bytes) + bytes(whole[end:]))
    with pytest.raises(ModelError, match="cut off or damaged"):
        identify(path)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Frontends that note what they were called with: what the door hands on is tested, not what they read."""
    calls: dict[str, tuple[Any, ...]] = {}

    def stub(name: str) -> types.ModuleType:
        made = types.ModuleType(name)

        def read(*arguments: Any, **options: Any) -> ir.Model:
            calls[name] = (*arguments, options)
            model = conv_pool()
            model.meta["frontend"] = name
            return model

        made.load = read  # type: ignore[attr-defined]
        return made

    for name in ("caffe", "openvino", "legacy_ir"):
        monkeypatch.setitem(sys.modules, f"fewbits.frontends.{name}", stub(name))
    return calls


@pytest.mark.parametrize(
    ("name", "data", "frontend"),
    [
        ("m.xml", ir_xml("6"), "legacy_ir"),
        ("m.xml", ir_xml("11"), "openvino"),
        ("m.pb", GRAPH_DEF, "openvino"),
        ("m.tflite", b"\0\0\0\0TFL3", "openvino"),
        ("m.pdmodel", PADDLE, "openvino"),
    ],
)
def test_each_kind_goes_to_its_frontend(
    tmp_path: Path, stubs: dict[str, tuple[Any, ...]], name: str, data: bytes, frontend: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert load(str(path)).meta["frontend"] == frontend
    assert stubs == {frontend: (path, {})}
    with pytest.raises(ModelError, match=r"--weights goes with a \.prototxt only"):
        load(path, weights="w.caffemodel")
    with pytest.raises(ModelError, match=r"--random-weights goes with a \.prototxt only"):
        load(fewbits.Source(path, random_weights=True))


def test_caffe_gets_weights_and_seed(tmp_path: Path, stubs: dict[str, tuple[Any, ...]]) -> None:
    path, weights = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    path.write_text("layer {}")
    load(path, weights=str(weights), seed=3)
    assert stubs["caffe"] == (path, {"weights": weights, "random_weights": False, "seed": 3})
    load(fewbits.Source(path, random_weights=True, seed=5))
    assert stubs["caffe"] == (path, {"weights": None, "random_weights": True, "seed": 5})


def test_example_inputs_are_for_modules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="example inputs"):
        load(tmp_path / "m.onnx", example_inputs=(1,))
