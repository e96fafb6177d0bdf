"""Integers come through as integers: FakeQuantize, and weights kept in 8 or 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from openvino_nets import Net, assert_same, both, kinds

from fewbits.engines import ENGINES
from fewbits.engines.base import Options
from fewbits.errors import ModelError
from fewbits.frontends.openvino.quantized import Quantized, fake_quantized, grid
from fewbits.graph import queries

openvino = pytest.importorskip("openvino")
opset = openvino.opset15


def const(numbers: Any, dtype: Any = np.float32) -> Any:
    return opset.constant(np.asarray(numbers, dtype))


def fake(x: Any, low: Any, high: Any, out_low: Any = None, out_high: Any = None, levels: int = 256) -> Any:
    out = (low if out_low is None else out_low, high if out_high is None else out_high)
    return opset.fake_quantize(x, const(low), const(high), const(out[0]), const(out[1]), levels)


def stored(model: ir.Model, kind: str) -> list[np.ndarray]:
    return [
        array
        for node in model.graph
        if node.op_type == "DequantizeLinear"
        and (array := queries.constant(node.inputs[0])) is not None
        and str(array.dtype) == kind
    ]


def step(low: Any, high: Any, levels: int = 256) -> float:
    return float(np.max((np.asarray(high) - np.asarray(low)) / (levels - 1)))


@pytest.mark.parametrize(
    ("low", "high", "levels", "kind"),
    [
        (-1.28, 1.27, 256, "int8"),
        (-1.27, 1.27, 255, "int8"),
        (0.0, 2.55, 256, "uint8"),
        (-0.64, 1.91, 256, "uint8"),
        (0.0, 1.5, 16, "uint8"),
    ],
)
def test_an_exact_grid_becomes_integers(tmp_path: Path, low: float, high: float, levels: int, kind: str) -> None:
    net = Net()
    model, ours, theirs = both(net, opset.relu(fake(net.x(4, 50, low=-3, high=3), low, high, levels=levels)), tmp_path)
    assert "QuantizeLinear" in kinds(model)
    assert "DequantizeLinear" in kinds(model)
    quantize = next(n for n in model.graph if n.op_type == "QuantizeLinear")
    assert str(queries.constant(quantize.inputs[2]).dtype) == kind  # type: ignore[union-attr]
    difference = np.abs(ours["y0"] - theirs["y0"])
    assert difference.max() <= step(low, high, levels) * 1.001
    # A tie may fall to the other side; a wrong scale or zero point would move nearly all.
    assert (difference > 1e-5).mean() < 0.02


def test_channels_have_grids_of_their_own(tmp_path: Path) -> None:
    net = Net()
    high = np.array([1.27, 0.635, 2.54], np.float32).reshape(1, 3, 1, 1)
    node = fake(net.x(2, 3, 4, 4), -high, high, levels=255)
    model, ours, theirs = both(net, opset.relu(node), tmp_path)
    quantize = next(n for n in model.graph if n.op_type == "QuantizeLinear")
    assert quantize.attributes["axis"].value == 1
    difference = np.abs(ours["y0"] - theirs["y0"])
    assert (difference > 1e-5).mean() < 0.02


def test_other_ranges_behind_than_in_front(tmp_path: Path) -> None:
    net = Net()
    node = fake(net.x(200, low=0, high=255), 0.0, 255.0, -1.0, 0.9921875)
    model, ours, theirs = both(net, opset.relu(node), tmp_path)
    assert kinds(model)[:2] == ["QuantizeLinear", "DequantizeLinear"]
    assert (np.abs(ours["y0"] - theirs["y0"]) > 1e-5).mean() < 0.02


@pytest.mark.parametrize(("low", "high", "levels"), [(0.1, 1.0, 256), (-1.0, 2.1, 256), (-1.0, 1.0, 300)])
def test_what_is_no_integer_grid_is_its_formula(tmp_path: Path, low: float, high: float, levels: int) -> None:
    net = Net()
    model, ours, theirs = both(net, fake(net.x(4, 50), low, high, levels=levels), tmp_path)
    assert "QuantizeLinear" not in kinds(model)
    assert (np.abs(ours["y0"] - theirs["y0"]) > 1e-5).mean() < 0.02
    assert np.abs(ours["y0"] - theirs["y0"]).max() <= step(low, high, levels) * 1.001


def test_uint8_in_and_out_meets_no_float(tmp_path: Path) -> None:
    net = Net()
    inside = fake(opset.convert(net.x(1, 40, dtype=np.uint8, low=0, high=255), "f32"), 0.0, 255.0, -1.0, 0.9921875)
    outside = fake(opset.relu(inside), 0.0, 0.9921875 * 255 / 254, 0.0, 255.0)
    model, ours, theirs = both(net, opset.convert(outside, "u8"), tmp_path)
    assert kinds(model) == ["DequantizeLinear", "Relu", "QuantizeLinear"]
    assert np.abs(ours["y0"].astype(int) - theirs["y0"]).max() <= 1


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("by_channel", [False, True])
def test_weights_in_eight_bits_stay_so(tmp_path: Path, kind: str, by_channel: bool) -> None:
    net = Net()
    info = np.iinfo(kind)
    integers = np.random.default_rng(3).integers(info.min, info.max, (6, 4, 3, 3)).astype(kind)
    shape = (6, 1, 1, 1) if by_channel else (1, 1, 1, 1)
    zero = np.full(shape, 3 if kind == "int8" else 130, np.float32)
    scale = np.linspace(0.01, 0.02, shape[0], dtype=np.float32).reshape(shape)
    weights = opset.multiply(opset.subtract(opset.convert(opset.constant(integers), "f32"), const(zero)), const(scale))
    node = opset.convolution(net.x(1, 4, 6, 6), weights, [1, 1], [0, 0], [0, 0], [1, 1])
    model, ours, theirs = both(net, node, tmp_path)
    assert kinds(model) == ["DequantizeLinear", "Conv"]
    np.testing.assert_array_equal(stored(model, kind)[0], integers)
    assert_same(ours, theirs)


def test_weights_stay_integers_through_changes_of_layout(tmp_path: Path) -> None:
    net = Net()
    integers = np.random.default_rng(3).integers(-127, 127, (3, 3, 8, 1)).astype(np.int8)  # TensorFlow's depthwise
    scale = np.linspace(0.01, 0.02, 8, dtype=np.float32).reshape(1, 1, 8, 1)
    weights = opset.multiply(opset.convert(opset.constant(integers), "f32"), const(scale))
    order = const([2, 3, 0, 1], np.int64)
    weights = opset.unsqueeze(opset.transpose(weights, order), const([2], np.int64))
    node = opset.group_convolution(net.x(1, 8, 6, 6), weights, [1, 1], [0, 0], [0, 0], [1, 1])
    model, ours, theirs = both(net, node, tmp_path)
    assert kinds(model) == ["DequantizeLinear", "Conv"]
    assert model.graph[0].attributes["axis"].value == 0
    np.testing.assert_array_equal(stored(model, "int8")[0], integers.transpose(2, 3, 0, 1).reshape(8, 1, 3, 3))
    assert_same(ours, theirs)


def test_weights_in_four_bits_are_held_in_eight(tmp_path: Path) -> None:
    net = Net()
    numbers = np.random.default_rng(3).integers(-8, 8, (5, 7))
    scale = np.linspace(0.1, 0.5, 5, dtype=np.float32).reshape(5, 1)
    integers = opset.constant(numbers.astype(np.int8), dtype=openvino.Type.i4)
    weights = opset.multiply(opset.convert(integers, "f32"), const(scale))
    model, _, theirs = both(net, opset.matmul(net.x(2, 7), weights, False, True), tmp_path)
    np.testing.assert_array_equal(stored(model, "int8")[0], numbers.T)
    # ONNX Runtime makes one kernel of DequantizeLinear and MatMul that rounds the activations to 8 bits as well.
    assert_same(ENGINES["openvino"].compile(model, Options()).run(net.feeds), theirs)


def test_weights_that_are_quantized_each_run_become_integers(tmp_path: Path) -> None:
    net = Net()
    weights = net.w(6, 4, 3, 3)
    high = np.abs(weights).max((1, 2, 3), keepdims=True)
    node = fake(opset.constant(weights), -high, high, levels=255)
    node = opset.convolution(net.x(1, 4, 6, 6), node, [1, 1], [0, 0], [0, 0], [1, 1])
    model, ours, theirs = both(net, node, tmp_path)
    assert kinds(model) == ["DequantizeLinear", "Conv"]
    assert stored(model, "int8")[0].min() >= -127
    assert_same(ours, theirs, 1e-3)


def test_weights_in_half_precision_become_plain(tmp_path: Path) -> None:
    net = Net()
    weights = net.w(5, 7).astype(np.float16)
    node = opset.matmul(net.x(2, 7), opset.convert(opset.constant(weights), "f32"), False, True)
    model, ours, theirs = both(net, node, tmp_path)
    assert kinds(model) == ["MatMul"]
    np.testing.assert_array_equal(queries.constant(model.graph[0].inputs[1]), weights.T.astype(np.float32))
    assert_same(ours, theirs)


def test_scales_for_groups_of_rows_are_multiplied_out(tmp_path: Path) -> None:
    net = Net()
    integers = np.random.default_rng(3).integers(-127, 127, (4, 3, 2)).astype(np.int8)
    scale = np.random.default_rng(4).uniform(0.01, 0.02, (4, 3, 1))
    weights = opset.reshape(
        opset.multiply(opset.convert(opset.constant(integers), "f32"), const(scale)), const([4, 6], np.int64), False
    )
    model, ours, theirs = both(net, opset.matmul(net.x(2, 6), weights, False, True), tmp_path)
    assert kinds(model) == ["MatMul"]
    assert_same(ours, theirs)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, -1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="empty or not finite"):
        grid(np.float32(low), np.float32(high), 256)


def test_an_empty_range_in_a_file_is_one_line(tmp_path: Path) -> None:
    net = Net()
    with pytest.raises(ModelError, match=r"FakeQuantize.*empty or not finite"):
        both(net, fake(net.x(4), 1.0, 1.0), tmp_path)


def test_a_grid_by_hand() -> None:
    found = grid(np.float32(-0.5), np.float32(0.75), 6)  # steps of 0.25: -0.5 … 0.75
    assert found is not None
    assert (float(found.scale), int(found.zero_point)) == (0.25, 2)
    assert grid(np.float32(-0.4), np.float32(0.85), 6) is None


def test_constants_by_hand() -> None:
    edges = [np.float32(edge) for edge in (-1.0, 1.0, -2.0, 2.0)]
    found = fake_quantized(np.array([-9, -0.6, 0.1, 0.9], np.float32), edges, 5)
    assert found is not None
    np.testing.assert_array_equal(found.dequantized(), [-2, -1, 0, 2])


def test_a_layout_moves_scales_along() -> None:
    weights = Quantized(
        np.arange(6, dtype=np.int8).reshape(2, 3), np.array([[1.0], [2.0]], np.float32), np.zeros((1, 1), np.int32)
    )
    moved = weights.moved(lambda array: array.transpose())
    assert moved.scale.shape == (1, 2)
    assert moved.axis() == 1
    np.testing.assert_array_equal(moved.dequantized(), weights.dequantized().T)
