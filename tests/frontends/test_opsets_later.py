"""Forms of opset 18 and later, through reading and all rewrites: next to a layer, where rewrites reach for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from opset_cases import FLOAT, build, node, numbers, read, run, same

from fewbits.passes import simplify
from models import Array, f32, i64

X = numbers(1, 4, 6, 6)
LAYER = {"w": numbers(4, 4, 3, 3), "k": numbers(4, 1, 1, seed=1)}
TURN, BACK = {"perm": [0, 2, 3, 1]}, {"perm": [0, 3, 1, 2]}

# (opsets, what stands behind a convolution, constants, output)
# fmt: off
CASES: list[tuple[tuple[int, ...], list[onnx.NodeProto], dict[str, Array]]] = [
    *(((18, 20), [node(op, "c a", keepdims=k)], {"a": i64(-1, 2)})
      for op in ("ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare")
      for k in (0, 1)),
    ((18, 23), [node("ReduceMean", "c", noop_with_empty_axes=1)], {}),
    ((18, 23), [node("Transpose", "c", "t", **TURN), node("Relu", "t", "r"), node("ReduceMean", "r a", keepdims=0)],
     {"a": i64(1, 2)}),
    ((18, 23), [node("Transpose", "c", "t", **TURN), node("ReduceMean", "t a", keepdims=0)], {"a": i64(-1)}),
    ((18, 23), [node("Transpose", "c", "t", **TURN), node("ReduceMax", "t a", keepdims=1)], {"a": i64(1)}),
    ((18, 23), [node("Split", "c", "p q", axis=1, num_outputs=2), node("Concat", "q p", axis=1)], {}),
    ((18, 23), [node("Split", "c", "p q r", axis=2, num_outputs=3), node("Concat", "r q p", axis=2)], {}),
    ((18, 19, 23), [node("Resize", "c - s", mode="linear", antialias=1, axes=[2, 3])], {"s": f32(0.5, 0.5)}),
    ((18, 23), [node("Resize", "c - - n", mode="nearest", axes=[3, 2], keep_aspect_ratio_policy="not_larger")],
     {"n": i64(9, 8)}),
    ((19, 23), [node("Resize", "c - s", mode="linear", coordinate_transformation_mode="half_pixel_symmetric")],
     {"s": f32(1, 1, 1.5, 1.7)}),
    ((18, 23), [node("Pad", "c p - a", "d"), node("Conv", "d w", pads=[1, 1, 1, 1])], {"p": i64(1, 2, 0, 1),
         "a": i64(-1, 2)}),
    ((19, 23), [node("Pad", "c p - a", "d", mode="wrap"), node("Conv", "d w")], {"p": i64(1, 2, 0, 1), "a": i64(-1,
         2)}),
    ((19, 22), [node("AveragePool", "c", kernel_shape=[2, 2], dilations=[2, 1], pads=[1, 0, 1, 1], ceil_mode=1)], {}),
    ((18, 20), [node("GroupNormalization", "c s b", num_groups=2)], {"s": f32(2, -1), "b": f32(0.5, 1)}),
    ((21, 23), [node("GroupNormalization", "c s b", num_groups=2)], {"s": f32(2, -1, 1, 3), "b": f32(0.5, 1, 0, 2)}),
    ((20, 23), [node("Gelu", "c", "g", approximate="tanh"), node("Mul", "g k")], {}),
    ((18, 23), [node("Mish", "c", "g"), node("Mul", "g k")], {}),
    ((23,), [node("RMSNormalization", "c s", axis=-1)], {"s": numbers(6)}),
    ((23,), [node("Attention", "c c c", scale=0.3)], {}),
    ((23,), [node("RotaryEmbedding", "c o o")], {"o": numbers(1, 6, 3)}),
    ((19, 23), [node("Cast", "c", "h", to=onnx.TensorProto.FLOAT8E4M3FN, saturate=0), node("Cast", "h", to=FLOAT)], {}),
    ((19, 21, 23), [node("QuantizeLinear", "c s z", "q", axis=1), node("DequantizeLinear", "q s z", axis=1)],
     {"s": f32(0.1, 0.2, 0.3, 0.4), "z": np.array([3, 0, -5, 7], np.int8)}),
    ((21, 23), [node("QuantizeLinear", "c s", "q", axis=3, block_size=3, output_dtype=3),
                node("DequantizeLinear", "q s", axis=3, block_size=3)], {"s": abs(numbers(1, 4, 6, 2)) + 0.05}),
    ((18, 23), [node("ScatterElements", "c i u", axis=3, reduction="max")],
     {"i": np.zeros((1, 4, 6, 1), np.int64), "u": numbers(1, 4, 6, 1)}),
    ((20, 22), [node("GridSample", "c g", mode="cubic", padding_mode="border")], {"g": numbers(1, 3, 3, 2)}),
    ((20,), [node("DFT", "e - a")], {"a": np.int64(1), "e": numbers(1, 8, 1)}),
    ((22, 23), [node("BatchNormalization", "c s b m v", "n"), node("Dropout", "n", "d"), node("Relu", "d")],
     {"s": f32(1, 2, 3, 4), "b": f32(1, 0, 0, 1), "m": f32(0, 1, 0, 1), "v": f32(1, 2, 1, 2)}),
]
# fmt: on


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize(
    ("opset", "nodes", "constants"),
    [pytest.param(v, n, c, id=f"{n[0].op_type}-{v}-{i}") for i, (o, n, c) in enumerate(CASES) for v in o],
)
def test_later_forms(
    tmp_path: Path, opset: int, nodes: list[onnx.NodeProto], constants: dict[str, Array], free: bool
) -> None:
    layer = [node("Conv", "x w", "b0", pads=[1, 1, 1, 1]), node("Mul", "b0 k", "c")]
    model = build([*layer, *nodes], opset, {"x": X}, LAYER | constants, free=free)
    expected = run(model, {"x": X})
    loaded = read(model, tmp_path)
    assert loaded.opset_imports[""] == opset
    for one in (loaded, simplify(loaded)):
        got = run(ir.to_proto(one), {"x": X})
        if any(n.op_type in ("QuantizeLinear", "Cast") for n in nodes):
            # A scale folded into the layer moves its result by a rounding, and that moves some numbers by a step.
            assert np.mean(np.abs(got[0] - expected[0]) > 1e-5) < 0.03
        else:
            same([a / np.abs(expected[0]).max() for a in got], [a / np.abs(expected[0]).max() for a in expected])
