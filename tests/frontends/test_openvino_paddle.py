"""PaddlePaddle by the same door: a program of three operators, its protobuf written by hand (no model is at hand)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openvino_nets import by_openvino

from fewbits.frontends.openvino import load
from models import check, on_onnxruntime

pytest.importorskip("openvino")
FP32, LOD_TENSOR, FEED, FETCH = 5, 7, 9, 10


def number(field: int, value: int) -> bytes:
    value %= 1 << 64
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([field << 3, *digits, value])


def message(field: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return bytes([field << 3 | 2]) + number(0, len(payload))[1:] + payload


def tensor(name: str, *dims: int) -> bytes:
    described = message(1, number(1, FP32), *(number(2, size) for size in dims))
    return message(3, message(1, name.encode()), message(2, number(1, LOD_TENSOR), message(3, described)))


def holder(name: str, kind: int) -> bytes:
    return message(3, message(1, name.encode()), message(2, number(1, kind)), number(3, 1))


def operator(kind: str, read: tuple[str, str], made: tuple[str, str], *attributes: bytes) -> bytes:
    ports = [
        message(field, message(1, port.encode()), message(2, name.encode()))
        for field, (port, name) in ((1, read), (2, made))
    ]
    return message(4, *ports, message(3, kind.encode()), *attributes)


def column(index: int) -> bytes:
    return message(4, message(1, b"col"), number(2, 0), number(3, index))


def test_a_program_of_three_operators(tmp_path: Path) -> None:
    block = message(
        1,
        number(1, 0),
        number(2, -1),
        holder("feed", FEED),
        holder("fetch", FETCH),
        tensor("x", -1, 4),
        tensor("h", -1, 4),
        tensor("y", -1, 4),
        operator("feed", ("X", "feed"), ("Out", "x"), column(0)),
        operator("relu", ("X", "x"), ("Out", "h")),
        operator("sigmoid", ("X", "h"), ("Out", "y")),
        operator("fetch", ("X", "y"), ("Out", "fetch"), column(0)),
    )
    path = tmp_path / "net.pdmodel"
    path.write_bytes(block + message(4, number(1, 2_000_000)))
    model = load(path)
    check(model)
    assert model.meta["frontend"] == "PaddlePaddle through OpenVINO"
    assert [value.name for value in model.graph.inputs] == ["x"]
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    ours = next(iter(on_onnxruntime(model, {"x": x}).values()))
    np.testing.assert_allclose(ours, 1 / (1 + np.exp(-np.maximum(x, 0))), rtol=1e-6)
    np.testing.assert_allclose(ours, next(iter(by_openvino(path, {"x": x}).values())), rtol=1e-6)
