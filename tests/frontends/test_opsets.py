"""Every operator that was written or meant differently once, at each of those versions that ONNX Runtime still runs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from opset_cases import BOOL, INT64, agrees, build, node, numbers

from fewbits.frontends.onnx import MINIMUM_OPSET
from fewbits.frontends.opsets.table import TABLE
from models import Array, f32, i64


@dataclass
class Case:
    """A node, the opsets it may be of, what it is fed; ``free`` models know no sizes."""

    node: onnx.NodeProto
    opsets: tuple[int, ...]
    feeds: dict[str, Array]
    constants: dict[str, Array] = field(default_factory=dict)
    outputs: str = "y"
    kinds: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.node.op_type}-{self.opsets[0]}"


X4 = numbers(2, 3, 4, 5)
X3 = numbers(2, 3, 4)
DATA = {"x": X4}
HALF_OFF = np.array([1, 1, 1.5, 0.6], np.float32)
ONES, SHIFT = np.linspace(0.5, 1.5, 3, dtype=np.float32), f32(-1, 0, 2)
NORM = {"s": ONES, "b": SHIFT, "m": SHIFT * 0.3, "v": ONES}
PER_FEATURE = {"s": numbers(3, 4, 5), "b": numbers(3, 4, 5, seed=1), "m": numbers(3, 4, 5), "v": abs(numbers(3, 4, 5))}
COUNTS = np.array([[0, 2, -1, 1]], np.int64)


def lstm(op: str, gates: int, **attributes: object) -> Case:
    weights = {"w": numbers(1, gates * 4, 3), "r": numbers(1, gates * 4, 4, seed=1), "b": numbers(1, gates * 8, seed=2)}
    given = node(op, "x w r b", "y h", hidden_size=4, **attributes)
    return Case(given, (7, 13, 14), {"x": numbers(5, 2, 3)}, weights, "y h")


# fmt: off
CASES = [
    *(Case(node("Softmax", "x", axis=a), (7, 11, 12, 13), DATA) for a in (0, 1, 2, 3)),
    Case(node("Softmax", "x"), (7, 11, 12, 13), DATA),
    Case(node("Softmax", "x", axis=-2), (11, 12), DATA),
    *(Case(node("LogSoftmax", "x", axis=a), (7, 11, 12), DATA) for a in (1, 3)),
    *(Case(node("Hardmax", "x", axis=a), (7, 11, 12), DATA) for a in (0, 1, 3)),
    Case(node("Softmax", "x", axis=1), (7, 12), {"x": numbers(2, 1, 6, 1)}),
    Case(node("Upsample", "x", mode="nearest", scales=[1.0, 1.0, 2.0, 3.0]), (7, 8), DATA),
    Case(node("Upsample", "x", mode="linear", scales=[1.0, 1.0, 2.0, 1.5]), (7, 8), DATA),
    Case(node("Upsample", "x s", mode="nearest"), (9,), DATA, {"s": f32(1, 1, 2.5, 1.7)}),
    Case(node("Upsample", "x s", mode="linear"), (9,), DATA, {"s": f32(1, 1, 2.5, 1.7)}),
    Case(node("Upsample", "x s", mode="nearest"), (9,), DATA | {"s": f32(1, 1, 2.5, 1.7)}),
    *(Case(node("Resize", "x s", mode=m), (10,), DATA, {"s": f32(1, 1, *s)})
      for m in ("nearest", "linear") for s in ((2, 1.5), (0.5, 0.6), (0.7, 1.7), (1, 1))),
    Case(node("Resize", "x s", mode="nearest"), (10,), DATA | {"s": HALF_OFF}),
    Case(node("Resize", "x r s", mode="nearest"), (11, 12, 13), DATA, {"r": f32(), "s": f32(1, 1, 1.5, 0.6)}),
    Case(node("Resize", "x r e n", mode="linear", coordinate_transformation_mode="align_corners"), (11, 12, 13), DATA,
         {"r": f32(), "e": f32(), "n": i64(2, 3, 6, 3)}),
    Case(node("Slice", "x", starts=[1, -3], ends=[1000, -1], axes=[1, 3]), (7, 9), DATA),
    Case(node("Slice", "x", starts=[0, 1], ends=[2, 3]), (7, 9), DATA),
    Case(node("Slice", "x a b c d"), (10, 11, 13), DATA, {"a": i64(3, 0), "b": i64(-10, 2), "c": i64(2, 3),
         "d": i64(-1, 2)}),
    Case(node("Dropout", "x"), (7, 10, 12, 13), DATA),
    Case(node("Dropout", "x", ratio=0.9), (7, 10), DATA),
    Case(node("Dropout", "x", "y m"), (7, 9), DATA, outputs="y m"),
    Case(node("Dropout", "x", "y m"), (10, 11, 12, 13), DATA, outputs="y m", kinds={"m": BOOL}),
    Case(node("TopK", "x", "y i", k=2, axis=1), (7, 9), DATA, outputs="y i", kinds={"i": INT64}),
    Case(node("TopK", "x", "y i", k=2), (7, 9), DATA, outputs="y i", kinds={"i": INT64}),
    Case(node("TopK", "x k", "y i", axis=2), (10, 11), DATA, {"k": i64(3)}, "y i", {"i": INT64}),
    Case(node("TopK", "x k", "y i", axis=2, largest=0), (11, 13), DATA, {"k": i64(3)}, "y i", {"i": INT64}),
    Case(node("Pad", "x", pads=[0, 1, 2, 0, 0, 0, 1, 3]), (7, 10), DATA),
    Case(node("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=-2.5), (7, 10), DATA),
    Case(node("Pad", "x", pads=[0, 0, -1, 1, 0, 0, 1, -2], value=1.5), (7, 10), DATA),
    *(Case(node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=m), (7, 10), DATA) for m in ("edge", "reflect")),
    Case(node("Pad", "x p v"), (11, 13), DATA, {"p": i64(0, 0, 1, 1, 0, 0, 1, 1), "v": np.float32(3)}),
    *(Case(node("Clip", "x", **k), (7, 10), DATA) for k in ({"min": -0.3, "max": 0.4}, {"min": 0.2}, {"max": 0.1}, {})),
    Case(node("Clip", "x a b"), (11, 12, 13), DATA, {"a": np.float32(0.5), "b": np.float32(-0.5)}),
    Case(node("Clip", "x - b"), (11, 12, 13), DATA, {"b": np.float32(-0.5)}),
    Case(node("Squeeze", "x", axes=[1, 3]), (7, 11, 12), {"x": numbers(2, 1, 3, 1)}),
    Case(node("Squeeze", "x"), (7, 11, 12, 13), {"x": numbers(2, 1, 3, 1)}),
    Case(node("Squeeze", "x", axes=[-1]), (11, 12), {"x": numbers(2, 1, 3, 1)}),
    Case(node("Unsqueeze", "x", axes=[0, 3]), (7, 11, 12), {"x": X3}),
    Case(node("Unsqueeze", "x", axes=[-1, 1]), (11, 12), {"x": X3}),
    *(Case(node("ReduceSum", "x", axes=a, keepdims=k), (7, 11, 12), DATA) for a in ([1], [2, 3]) for k in (0, 1)),
    Case(node("ReduceSum", "x"), (7, 11, 12, 13), DATA),
    *(Case(node(op, "x", axes=[1, 2], keepdims=0), (7, 11, 13, 17), DATA) for op in (
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSumSquare")),
    Case(node("Split", "x", "y z", axis=2), (7, 11, 12, 13), DATA, outputs="y z"),
    Case(node("Split", "x", "y z", axis=1, split=[1, 2]), (7, 11, 12), DATA, outputs="y z"),
    Case(node("Split", "x s", "y z", axis=1), (13, 17), DATA, {"s": i64(2, 1)}, "y z"),
    Case(node("BatchNormalization", "x s b m v", epsilon=1e-3), (7, 8, 9, 13, 14, 15), DATA, NORM),
    Case(node("BatchNormalization", "x s b m v", spatial=1), (7, 8), DATA, NORM),
    Case(node("BatchNormalization", "x s b m v", spatial=0), (7, 8), DATA, PER_FEATURE),
    *(Case(node(op, "x b"), (7, 13, 14), DATA, {"b": numbers(3, 1, 1)}) for op in ("Add", "Sub", "Mul", "Div", "Pow")
      if op != "Pow"),
    Case(node("Pow", "x b"), (7, 12, 13, 15), {"x": abs(X4)}, {"b": numbers(5)}),
    *(Case(node(op, "x b"), (7, 9, 11, 13), DATA, {"b": numbers(4, 5)}, kinds={"y": BOOL}) for op in ("Greater",
         "Less")),
    Case(node("Equal", "x b"), (7, 11, 13), {"x": np.arange(12).reshape(3, 4)}, {"b": i64(0, 5, 6, 7)},
         kinds={"y": BOOL}),
    *(Case(node(op, "x b"), (7, 13), {"x": X4 > 0}, {"b": numbers(5) > 0}, kinds={"y": BOOL}) for op in ("And", "Or",
         "Xor")),
    Case(node("PRelu", "x s"), (7, 9, 16), DATA, {"s": numbers(3, 1, 1)}),
    *(Case(node(op, "x b c"), (8, 12, 13), DATA, {"b": numbers(5), "c": numbers(3, 1, 1)})
      for op in ("Sum", "Mean", "Max", "Min")),
    *(Case(node(op, "x b"), (7,), DATA, {"b": numbers(*X4.shape, seed=3)}) for op in ("Sum", "Mean", "Max", "Min")),
    Case(node("Gemm", "a b c", alpha=0.5, beta=2.0, transB=1), (7, 9, 11, 13), {"a": numbers(3, 4)},
         {"b": numbers(5, 4), "c": numbers(5)}),
    Case(node("Gemm", "a b", transA=1), (11, 13), {"a": numbers(4, 3)}, {"b": numbers(4, 5)}),
    Case(node("Cast", "x", to=INT64), (7, 9, 13), {"x": X4 * 3}, kinds={"y": INT64}),
    Case(node("Reshape", "x s"), (7, 13, 14), DATA, {"s": i64(0, -1, 5)}),
    Case(node("Concat", "x b", axis=1), (7, 11, 13), DATA, {"b": numbers(2, 1, 4, 5)}),
    *(Case(node("Flatten", "x", axis=a), (7, 9, 11, 13), DATA) for a in (0, 1, 2, 4)),
    Case(node("Expand", "x s"), (8, 13), {"x": numbers(3, 1)}, {"s": i64(2, 1, 4)}),
    Case(node("Gather", "x i", axis=1), (7, 11, 13), DATA, {"i": i64(2, 0)}),
    Case(node("Tile", "x r"), (7, 13), DATA, {"r": i64(1, 2, 1, 3)}),
    Case(node("AveragePool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1]), (7, 10, 11), DATA),
    Case(node("AveragePool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1), (7, 10, 11), DATA),
    Case(node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"), (7, 10, 11), DATA),
    Case(node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2]), (7, 8, 10, 11, 12), DATA),
    Case(node("MaxPool", "x", "y i", kernel_shape=[2, 2], storage_order=1), (8, 10, 11, 12), DATA, {}, "y i",
         {"i": INT64}),
    Case(node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), (10, 12), DATA),
    Case(node("LpPool", "x", kernel_shape=[2, 2], p=1), (7, 11), DATA),
    Case(node("GlobalLpPool", "x", p=1), (7, 13), DATA),
    Case(node("LRN", "x", size=3, alpha=0.1), (7, 13), DATA),
    lstm("LSTM", 4), lstm("LSTM", 4, input_forget=1), lstm("GRU", 3), lstm("GRU", 3, linear_before_reset=1),
         lstm("RNN", 1),
    *(Case(node("ArgMax", "x", axis=1, keepdims=k), (7, 11, 12, 13), DATA, kinds={"y": INT64}) for k in (0, 1)),
    Case(node("Scatter", "x i u", axis=1), (9, 10), {"x": numbers(3, 4)}, {"i": COUNTS[:, :2] % 4, "u": numbers(1, 2)}),
    Case(node("ScatterElements", "x i u", axis=1), (11, 13, 16), {"x": numbers(3, 4)}, {"i": COUNTS, "u": numbers(1,
         4)}),
    Case(node("ScatterND", "x i u"), (11, 13, 16), {"x": numbers(3, 4)}, {"i": i64(2, 0).reshape(2, 1),
         "u": numbers(2, 4)}),
    Case(node("GatherND", "x i"), (11, 12, 13), {"x": numbers(3, 4)}, {"i": i64(2, 0).reshape(2, 1)}),
    Case(node("GatherElements", "x i", axis=1), (11, 13), {"x": numbers(1, 4)}, {"i": COUNTS}),
    Case(node("OneHot", "i d v"), (9, 11), {"i": COUNTS}, {"d": np.int64(3), "v": f32(-1, 4)}),
    Case(node("CumSum", "x a"), (11, 14), DATA, {"a": np.int64(2)}),
    Case(node("EyeLike", "x", k=1), (9, 17), {"x": numbers(3, 4)}),
    Case(node("ConstantOfShape", "s"), (9, 17), {"s": i64(2, 3)}),
    Case(node("QuantizeLinear", "x s z"), (10, 13), DATA, {"s": np.float32(0.1), "z": np.uint8(100)}, kinds={"y": 2}),
    Case(node("DequantizeLinear", "x s z"), (10, 13), {"x": np.arange(9, dtype=np.uint8)},
         {"s": np.float32(0.1), "z": np.uint8(3)}),
    Case(node("InstanceNormalization", "x s b"), (7, 17), DATA, {"s": ONES, "b": SHIFT}),
    Case(node("RoiAlign", "x r i", output_height=2, output_width=2, spatial_scale=0.5, sampling_ratio=2), (10, 15),
         DATA,
         {"r": f32(0, 0, 6, 6, 1, 1, 5, 4).reshape(2, 4), "i": i64(0, 1)}),
    Case(node("RoiAlign", "x r i", output_height=2, output_width=2, sampling_ratio=2), (16,), DATA,
         {"r": f32(0, 0, 3, 3).reshape(1, 4), "i": i64(1)}),
    Case(node("ConvTranspose", "x w", strides=[2, 2], output_shape=[8, 9]), (7, 11), DATA, {"w": numbers(3, 2, 3, 3)}),
    Case(node("DepthToSpace", "x", blocksize=2), (7, 11, 13), {"x": numbers(1, 8, 2, 3)}),
    Case(node("Selu", "x"), (7, 17), DATA),
    Case(node("MeanVarianceNormalization", "x"), (9, 13), DATA),
    Case(node("Mod", "x b"), (10, 13), {"x": i64(-5, 5, 7)}, {"b": i64(3, -3, 4)}, kinds={"y": INT64}),
    Case(node("Shape", "x"), (7, 13, 15), DATA, kinds={"y": INT64}),
    Case(node("Compress", "x c", axis=1), (9, 11), DATA, {"c": np.array([True, False, True])}),
]
# fmt: on


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize(
    ("case", "opset"), [pytest.param(c, v, id=f"{c}-{v}-{i}") for i, c in enumerate(CASES) for v in c.opsets]
)
def test_operators_keep_their_meaning(tmp_path: Path, case: Case, opset: int, free: bool) -> None:
    model = build(case.node, opset, case.feeds, case.constants, outputs=case.outputs, free=free, kinds=case.kinds)
    loaded = agrees(model, case.feeds, tmp_path)
    assert loaded.opset_imports[""] == 17


def _schemas(op: str) -> list[onnx.defs.OpSchema]:
    found = [s for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.name == op]
    return sorted(found, key=lambda s: s.since_version)


def _written_differently(before: onnx.defs.OpSchema, after: onnx.defs.OpSchema) -> bool:
    """Whether a node of the version before may be no node of the one after, or one with another default."""
    for name, old in before.attributes.items():
        new = after.attributes.get(name)
        if new is None or new.type != old.type or (new.required and not old.required):
            return True
        if not new.required and onnx.helper.get_attribute_value(new.default_value) != onnx.helper.get_attribute_value(
            old.default_value
        ):
            return True
    needed = [i for i in after.inputs if i.option == onnx.defs.OpSchema.FormalParameterOption.Single]
    return after.deprecated or after.min_input > before.min_input or len(needed) > before.max_input


# Written differently without another meaning: an absent bound of Clip is the largest number in both.
_SAME_ALL_THE_SAME = {("Clip", 6)}


@pytest.mark.parametrize("op", sorted({s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}))
def test_whatever_is_written_differently_has_an_adapter(op: str) -> None:
    schemas = _schemas(op)
    for before, after in itertools.pairwise(schemas):
        if (
            after.since_version <= MINIMUM_OPSET
            and _written_differently(before, after)
            and (op, after.since_version) not in _SAME_ALL_THE_SAME
        ):
            assert op in TABLE[after.since_version], after.since_version


def test_the_table_names_versions_that_exist() -> None:
    for version, adapters in TABLE.items():
        for op in adapters:
            assert version in {s.since_version for s in _schemas(op)}, (op, version)
