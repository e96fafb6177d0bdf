"""Caffe files for tests: caffemodels written by protobuf, and OpenCV's answer to the same files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.encoder import _VarintBytes

from fewbits.engines import ENGINES, Options
from fewbits.frontends import caffe
from fewbits.frontends.caffe import net as network
from fewbits.frontends.caffe import training
from fewbits.frontends.caffe.build import build
from fewbits.frontends.caffe.weights import Drawn
from models import Array, Arrays

Blobs = dict[str, list[Array]]
_KINDS = descriptor_pb2.FieldDescriptorProto


@cache
def messages(packed: bool = True) -> dict[str, Callable[..., Any]]:
    """NetParameter and what is in it, with the numbers of caffe.proto."""
    file = descriptor_pb2.FileDescriptorProto(name=f"caffe_{packed}.proto", package=f"caffe_{packed}", syntax="proto2")

    def message(name: str, *fields: tuple[str, int, int, bool, str]) -> None:
        made = file.message_type.add(name=name)
        for field, number, kind, repeated, type_name in fields:
            label = _KINDS.LABEL_REPEATED if repeated else _KINDS.LABEL_OPTIONAL
            added = made.field.add(name=field, number=number, type=kind, label=label)
            if type_name:
                added.type_name = f".caffe_{packed}.{type_name}"
            if repeated and kind in (_KINDS.TYPE_FLOAT, _KINDS.TYPE_DOUBLE, _KINDS.TYPE_INT64):
                added.options.packed = packed

    message("BlobShape", ("dim", 1, _KINDS.TYPE_INT64, True, ""))
    message(
        "BlobProto",
        *(
            (name, index, _KINDS.TYPE_INT32, False, "")
            for index, name in enumerate(("num", "channels", "height", "width"), 1)
        ),
        ("data", 5, _KINDS.TYPE_FLOAT, True, ""),
        ("diff", 6, _KINDS.TYPE_FLOAT, True, ""),
        ("shape", 7, _KINDS.TYPE_MESSAGE, False, "BlobShape"),
        ("double_data", 8, _KINDS.TYPE_DOUBLE, True, ""),
        ("raw_data_type", 10, _KINDS.TYPE_INT32, False, ""),
        ("raw_data", 12, _KINDS.TYPE_BYTES, False, ""),
    )
    message(
        "LayerParameter",
        ("name", 1, _KINDS.TYPE_STRING, False, ""),
        ("type", 2, _KINDS.TYPE_STRING, False, ""),
        ("blobs", 7, _KINDS.TYPE_MESSAGE, True, "BlobProto"),
    )
    message(
        "V1LayerParameter",
        ("name", 4, _KINDS.TYPE_STRING, False, ""),
        ("type", 5, _KINDS.TYPE_INT32, False, ""),
        ("blobs", 6, _KINDS.TYPE_MESSAGE, True, "BlobProto"),
    )
    message(
        "NetParameter",
        ("name", 1, _KINDS.TYPE_STRING, False, ""),
        ("layers", 2, _KINDS.TYPE_MESSAGE, True, "V1LayerParameter"),
        ("layer", 100, _KINDS.TYPE_MESSAGE, True, "LayerParameter"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        made.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe_{packed}.{made.name}"))
        for made in file.message_type
    }


def write_weights(
    path: Path, blobs: Blobs, *, old: bool = False, packed: bool = True, double: bool = False, legacy: bool = False
) -> Path:
    """A caffemodel in each of the forms there are; ``legacy`` gives shapes as num, channels, height, width."""
    made = messages(packed)["NetParameter"]()
    for name, arrays in blobs.items():
        layer = (made.layers if old else made.layer).add(name=name)
        for array in arrays:
            blob = layer.blobs.add()
            if legacy:
                sizes = [1] * (4 - array.ndim) + list(array.shape)
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(array.shape)
            if packed and not double:  # millions of numbers: as the bytes they are on the wire
                content = np.asarray(array, "<f4").tobytes()
                blob.MergeFromString(b"\x2a" + _VarintBytes(len(content)) + content)
            else:
                (blob.double_data if double else blob.data).extend(array.reshape(-1).tolist())
    path.write_bytes(made.SerializeToString())
    return path


class _Recorded(Drawn):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.blobs: dict[str, dict[int, Array]] = {}

    def blob(self, layer: Any, index: int, *rest: Any) -> Array:
        made = super().blob(layer, index, *rest)
        self.blobs.setdefault(layer.name, {})[index] = made
        return made


def drawn(path: Path, seed: int = 0) -> Blobs:
    """The weights that ``random_weights`` would give the network, as a caffemodel holds them."""
    weights = _Recorded(seed)
    build(training.deployed(network.read(path)), weights)
    return {name: [held[index] for index in sorted(held)] for name, held in weights.blobs.items()}


def converted(prototxt: Path, weights: Path | None, inputs: Arrays) -> Arrays:
    """Our graph's outputs on ONNX Runtime."""
    model = caffe.load(prototxt, weights=weights, random_weights=False, seed=0)
    session = ENGINES["onnxruntime"].compile(model, Options(threads=1))
    try:
        return session.run(inputs)
    finally:
        session.close()


def by_opencv(prototxt: Path, weights: Path | None, inputs: Arrays, outputs: list[str]) -> Arrays:
    """What OpenCV's Caffe importer makes of the same files; it goes by names of layers, not of blobs."""
    import cv2

    last = {top: layer.name for layer in training.deployed(network.read(prototxt)).layers for top in layer.tops}

    net = cv2.dnn.readNetFromCaffe(str(prototxt), *([str(weights)] if weights else []))
    for name, array in inputs.items():
        net.setInput(array, name)
    known = set(net.getLayerNames())
    return dict(zip(outputs, net.forward([n if last[n] not in known else last[n] for n in outputs]), strict=True))


def deviation(ours: Array, theirs: Array) -> float:
    """Largest difference relative to the largest value of the reference."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def found(rows: Array) -> Array:
    """Detections [rows, 7]: OpenCV fills its output up to keep_top_k rows with zeros."""
    rows = rows.reshape(-1, 7)
    return rows[rows.any(axis=1)]


def unmatched(ours: Array, theirs: Array, tolerance: float = 1e-4) -> int:
    """Rows of either side without an equal in the other: OpenCV orders by score where Caffe orders by class."""
    apart = np.abs(found(ours)[:, None] - found(theirs)[None]).max(axis=2)
    return int((apart.min(axis=1) > tolerance).sum() + (apart.min(axis=0) > tolerance).sum())
