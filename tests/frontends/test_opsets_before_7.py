"""Versions no engine runs any more: the truth is the operators' description, written down in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from opset_cases import BOOL, agrees, build, node, numbers, read

from fewbits.errors import ModelError
from models import Array, Arrays, f32, i64

A = numbers(2, 3, 4, 5)
CHANNEL, ROW = numbers(3, seed=1), numbers(5, seed=2)
AT_1 = CHANNEL.reshape(3, 1, 1)
NORM = {"s": abs(CHANNEL), "b": CHANNEL, "m": CHANNEL * 0.5, "v": abs(CHANNEL) + 1}
WHOLE, BIT = np.arange(24).reshape(2, 3, 4), numbers(2, 3, 4) > 0


def parted(*inputs: Array) -> Arrays:
    return dict(zip("abc", inputs, strict=False))


def resized(x: Array, scale: int) -> Array:
    return x.repeat(scale, 2).repeat(scale, 3)


def joint_softmax(x: Array, axis: int) -> Array:
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1).astype(np.float64)
    e = np.exp(flat - flat.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(x.shape).astype(np.float32)


# (opsets, node, inputs fed, constants, the answer)
# fmt: off
CASES: list[tuple[tuple[int, ...], onnx.NodeProto, Arrays, Arrays, Array]] = [
    *((o, node(op, "a b", broadcast=1, axis=1, **extra), parted(A), {"b": CHANNEL}, f(A, AT_1))
      for op, f in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide))
      for o, extra in (((1,), {"consumed_inputs": [0, 0]}), ((6,), {}))),
    ((1, 6), node("Add", "a b", broadcast=1), parted(A), {"b": ROW}, A + ROW),
    ((1, 6), node("Add", "a b", broadcast=1, axis=3), parted(A), {"b": ROW}, A + ROW),
    ((1, 6), node("Add", "a b", broadcast=1, axis=1), parted(A), {"b": numbers(3, 4)}, A + numbers(3, 4)[..., None]),
    ((1, 6), node("Mul", "a b", broadcast=1), parted(A), {"b": f32(2)}, A * 2),
    ((1, 6), node("Add", "a b"), parted(A, A), {}, A + A),
    ((1, 6), node("Pow", "a b", broadcast=1, axis=0), parted(abs(A)), {"b": f32(2, 3)}, abs(A) ** f32(2, 3).reshape(2,
         1, 1, 1)),
    ((1, 6), node("Greater", "a b", broadcast=1, axis=1), parted(A), {"b": CHANNEL}, A > AT_1),
    ((1, 6), node("Less", "a b", broadcast=1, axis=1), parted(A), {"b": CHANNEL}, A < AT_1),
    ((1, 6), node("Equal", "a b", broadcast=1, axis=1), parted(WHOLE), {"b": i64(0, 5, 8)}, i64(0, 5, 8).reshape(3,
         1) == WHOLE),
    *(((1, 6), node(op, "a b", broadcast=1, axis=1), parted(BIT), {"b": np.array([True, False, True])},
       f(BIT, np.array([[True], [False], [True]])))
      for op, f in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor))),
    ((1, 6), node("PRelu", "a b"), parted(A), {"b": CHANNEL}, np.where(A < 0, A * AT_1, A)),
    ((1, 6), node("PRelu", "a b"), parted(A), {"b": f32(0.3)}, np.where(A < 0, A * f32(0.3), A)),
    ((1, 6), node("PRelu", "a b"), parted(A[..., 0, 0]), {"b": CHANNEL}, np.where(A[..., 0, 0] < 0, A[..., 0,
         0] * CHANNEL, A[..., 0, 0])),
    *((o, node("BatchNormalization", "a s b m v", is_test=1, **extra), parted(A), NORM,
     ((A - AT_1 * 0.5) / np.sqrt(abs(AT_1) + 1 + 1e-5) * abs(AT_1) + AT_1).astype(np.float32))
      for o, extra in (((1,), {"consumed_inputs": [0, 0, 0, 1, 1]}), ((6,), {}))),
    ((1, 6), node("Dropout", "a", is_test=1, ratio=0.7), parted(A), {}, A),
    ((1, 6), node("Gemm", "a b c", broadcast=1, transB=1), parted(numbers(2, 4)), {"b": numbers(5, 4), "c": ROW},
     numbers(2, 4) @ numbers(5, 4).T + ROW),
    ((1, 3), node("Concat", "a b"), parted(A, A), {}, np.concatenate([A, A], 1)),
    ((1, 4), node("Reshape", "a", shape=[0, -1]), parted(A), {}, A.reshape(2, -1)),
    ((5, 6), node("Reshape", "a s"), parted(A), {"s": i64(0, -1)}, A.reshape(2, -1)),
    ((1,), node("Pad", "a", paddings=[0, 0, 1, 0, 0, 0, 0, 2], value=3.0), parted(A), {},
     np.pad(A, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=3)),
    ((1,), node("Split", "a s", axis=1), parted(A), {"s": i64(1, 2)}, A[:, :1]),
    ((1, 2), node("Split", "a", axis=1, split=[1, 2]), parted(A), {}, A[:, :1]),
    ((1,), node("Tile", "a t x"), parted(A), {"t": i64(2), "x": i64(1)}, np.tile(A, (1, 2, 1, 1))),
    ((1, 5), node("Cast", "a", to="INT32"), parted(A * 9), {}, (A * 9).astype(np.int32)),
    ((1, 6), node("Upsample", "a", height_scale=2.0, width_scale=2.0, mode="nearest"), parted(A), {}, resized(A, 2)),
    ((1, 5), node("Selu", "a"), parted(A), {}, np.where(A > 0, 1.0507 * A,
         1.0507 * 1.6732 * np.expm1(A)).astype(np.float32)),
    ((1, 6), node("Selu", "a", alpha=1.2, gamma=0.7), parted(A), {}, np.where(A > 0, 0.7 * A,
         0.7 * 1.2 * np.expm1(A)).astype(np.float32)),
    ((1,), node("GlobalLpPool", "a", p=1.0), parted(A), {}, abs(A).sum((2, 3), keepdims=True)),
    ((1, 5), node("Clip", "a", min=-0.5, max=0.25, consumed_inputs=[0]), parted(A), {}, np.clip(A, -0.5, 0.25)),
    ((1, 5), node("Elu", "a", alpha=0.5), parted(A), {}, np.where(A > 0, A, 0.5 * np.expm1(A)).astype(np.float32)),
    ((1, 5), node("LeakyRelu", "a", alpha=0.2), parted(A), {}, np.where(A > 0, A, A * np.float32(0.2))),
    *(((1, 5), node(op, "a", consumed_inputs=[0]), parted(abs(A)), {}, f(abs(A)).astype(np.float32))
      for op, f in (("Abs", np.abs), ("Ceil", np.ceil), ("Floor", np.floor), ("Exp", np.exp), ("Log", np.log), ("Neg",
         np.negative),
                    ("Reciprocal", np.reciprocal), ("Relu", np.abs), ("Sqrt", np.sqrt), ("Tanh", np.tanh))),
    *(((1, 6), node(op, "a b"), parted(A, A * 2), {}, f(A, A * 2).astype(np.float32))
      for op, f in (("Sum", np.add), ("Max", np.maximum), ("Min", np.minimum), ("Mean", lambda a, b: (a + b) / 2))),
    ((1, 6), node("InstanceNormalization", "a s b"), parted(A), {"s": CHANNEL, "b": CHANNEL},
     ((A - A.mean((2, 3), keepdims=True)) / np.sqrt(A.var((2, 3),
         keepdims=True) + 1e-5) * AT_1 + AT_1).astype(np.float32)),
    ((1, 6), node("Softmax", "a"), parted(A), {}, joint_softmax(A, 1)),
    ((1, 6), node("Softmax", "a", axis=2), parted(A), {}, joint_softmax(A, 2)),
    ((1, 6), node("Slice", "a", starts=[1, -2], ends=[9, 5], axes=[2, 3]), parted(A), {}, A[:, :, 1:9, -2:5]),
    ((1, 6), node("Squeeze", "a", axes=[1]), parted(A[:, :1]), {}, A[:, 0]),
    ((1, 6), node("ReduceSum", "a", axes=[1], keepdims=0), parted(A), {}, A.sum(1)),
    ((1, 6), node("MaxPool", "a", kernel_shape=[2, 5]), parted(A), {}, np.maximum(A[:, :, :-1], A[:, :, 1:]).max(3,
         keepdims=True)),
    ((1, 6), node("AveragePool", "a", kernel_shape=[4, 5]), parted(A), {}, A.mean((2, 3), keepdims=True)),
]
# fmt: on


@pytest.mark.parametrize(
    ("opset", "case"), [pytest.param(v, c, id=f"{c[1].op_type}-{v}-{i}") for i, c in enumerate(CASES) for v in c[0]]
)
def test_operators_are_what_their_description_says(tmp_path: Path, opset: int, case: tuple[Any, ...]) -> None:
    _, given, feeds, constants, expected = case
    outputs = " ".join(given.output)
    kinds = {"y": onnx.helper.np_dtype_to_tensor_dtype(expected.dtype)}
    given = onnx.NodeProto.FromString(given.SerializeToString())
    if given.op_type == "Split":
        given.output.append("z")
    model = build(given, opset, feeds, constants, outputs=outputs, kinds=kinds)
    assert agrees(model, feeds, tmp_path, [expected]).opset_imports[""] == 17


@pytest.mark.parametrize(
    ("opset", "given", "feeds", "constants"),
    [
        (6, node("BatchNormalization", "a s b m v"), parted(A), NORM),
        (1, node("BatchNormalization", "a s b m v", is_test=0, consumed_inputs=[0, 0, 0, 1, 1]), parted(A), NORM),
        (7, node("BatchNormalization", "a s b m v", "y p q r t"), parted(A), NORM),
        (9, node("BatchNormalization", "a s b m v", "y p q r t"), parted(A), NORM),
        (6, node("Dropout", "a", is_test=0), parted(A), {}),
        (1, node("Split", "a", "y z"), parted(A), {}),
        (1, node("Tile", "a t x"), parted(A, i64(2)) | {"t": i64(2)}, {"x": i64(1)}),
        (5, node("Cast", "a", to="FLOAT33"), parted(A), {}),
        (1, node("GlobalLpPool", "a", p=2.5), parted(A), {}),
        (8, node("Scan", "l s a", "y", num_scan_inputs=1, body=onnx.helper.make_graph(
            [node("Add", "s_ a_", "t")], "b",
            [onnx.helper.make_tensor_value_info(n, 1, [4, 5]) for n in ("s_", "a_")],
            [onnx.helper.make_tensor_value_info("t", 1, [4, 5])])),
         {"a": A, "l": i64(3, 2)}, {"s": A[:, 0]}),
    ],
)  # fmt: skip
def test_what_has_no_equivalent_is_refused_with_its_name(
    tmp_path: Path, opset: int, given: onnx.NodeProto, feeds: Arrays, constants: Arrays
) -> None:
    with pytest.raises(ModelError, match=given.op_type) as caught:
        read(build(given, opset, feeds, constants), tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_bool_comparison_types(tmp_path: Path) -> None:
    model = build(node("Greater", "a b", broadcast=1, axis=2), 6, {"a": A}, {"b": numbers(4)}, kinds={"y": BOOL})
    agrees(model, {"a": A}, tmp_path, [numbers(4).reshape(4, 1) < A])
