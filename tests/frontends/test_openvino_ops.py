"""Every operation in the table computes in ONNX Runtime what it computes in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openvino_nets import Net, assert_same, both

from fewbits.frontends.openvino.operators import REFUSED, TABLE

NodeFactory = pytest.importorskip("openvino.utils.node_factory").NodeFactory
opset = pytest.importorskip("openvino").opset15
o1 = pytest.importorskip("openvino").opset1
opset2 = pytest.importorskip("openvino").opset2
o8 = pytest.importorskip("openvino").opset8
o9 = pytest.importorskip("openvino").opset9
Build = Callable[[Net], Any]


def i64(*numbers: int) -> Any:
    return opset.constant(np.array(numbers, np.int64))


def const(numbers: Any, dtype: Any = np.float32) -> Any:
    return opset.constant(np.asarray(numbers, dtype))


def conv(n: Net, x: Any, w: Any, **given: Any) -> Any:
    usual = {"strides": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0], "dilations": [1, 1]}
    return opset.convolution(x, opset.constant(w), **{**usual, **given})


def group(n: Net, x: Any, w: Any, **given: Any) -> Any:
    usual = {"strides": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0], "dilations": [1, 1]}
    return opset.group_convolution(x, opset.constant(w), **{**usual, **given})


def back(n: Net, x: Any, w: Any, shape: Any = None, grouped: bool = False, **given: Any) -> Any:
    make = opset.group_convolution_backprop_data if grouped else opset.convolution_backprop_data
    return make(
        x, opset.constant(w), **({"output_shape": i64(*shape)} if shape else {}), **{"strides": [2, 2], **given}
    )


def pool(x: Any, kind: str = "max", kernel: int = 3, stride: int = 2, **given: Any) -> Any:
    usual: dict[str, Any] = {"pads_begin": [0, 0], "pads_end": [0, 0], "rounding_type": "floor", "auto_pad": "explicit"}
    usual |= given
    if kind == "max":
        dilations = usual.pop("dilations", [1, 1])
        pads = [usual.pop("pads_begin"), usual.pop("pads_end")]
        return opset.max_pool(x, [stride] * 2, dilations, *pads, [kernel] * 2, **usual)
    pads = [usual.pop("pads_begin"), usual.pop("pads_end")]
    return opset.avg_pool(x, [stride] * 2, *pads, [kernel] * 2, usual.pop("exclude_pad", True), **usual)


def resize(x: Any, mode: str, sizes: list[int] | None, scales: list[float] | None, **given: Any) -> Any:
    usual = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
    by = "sizes" if sizes is not None else "scales"
    numbers = i64(*sizes) if sizes is not None else const(scales)
    return opset.interpolate(x, numbers, mode, by, axes=i64(2, 3), **{**usual, **given})


def strided(x: Any, begin: list[int], end: list[int], strides: list[int], **masks: list[int]) -> Any:
    kinds = ("begin", "end", "new_axis", "shrink_axis", "ellipsis")
    full = {f"{kind}_mask": masks.get(f"{kind}_mask", [0] * len(begin)) for kind in kinds}
    return opset.strided_slice(x, i64(*begin), i64(*end), i64(*strides), **full)


def lstm(n: Net, kind: str, direction: str, **given: Any) -> list[Any]:
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    d, b, s, i, h = (2 if direction.lower() == "bidirectional" else 1), 2, 5, 3, 4
    states = [n.x(b, d, h) for _ in range(2 if kind == "lstm" else 1)]
    bias = gates + (1 if given.get("linear_before_reset") else 0)
    weights = [const(n.w(d, gates * h, i)), const(n.w(d, gates * h, h)), const(n.w(d, bias * h))]
    lengths = const([s, s], np.int32)
    make = {"lstm": opset.lstm_sequence, "gru": opset.gru_sequence, "rnn": opset.rnn_sequence}[kind]
    node = make(n.x(b, s, i), *states, lengths, *weights, h, direction, **given)
    return list(node.outputs())


UNARY = """abs acos asin asinh atan ceiling cos cosh erf exp floor hsigmoid hswish mish negative relu sigmoid sign sin
    sinh softplus softsign swish tan tanh"""
BINARY = "add divide equal greater less maximum minimum multiply not_equal squared_difference subtract"


def detections(n: Net, best: float = 1, **given: Any) -> Any:
    """60 prior boxes, 4 classes."""
    rng = np.random.default_rng(0)
    centre, size = rng.uniform(0.2, 0.8, (60, 2)), rng.uniform(0.1, 0.3, (60, 2))
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1).ravel()
    priors = np.stack([corners, np.tile([0.1, 0.1, 0.2, 0.2], 60)])[None]
    usual = {
        "background_label_id": 0,
        "top_k": 20,
        "keep_top_k": [10],
        "code_type": "caffe.PriorBoxParameter.CENTER_SIZE",
        "share_location": True,
        "nms_threshold": 0.45,
        "confidence_threshold": 0.3,
        "normalized": True,
        "clip_after_nms": True,
    }
    boxes, scores = n.x(1, 240, low=-1, high=1), n.x(1, 240, low=0, high=best)
    return o8.detection_output(boxes, scores, const(priors), {**usual, **given})


CASES: dict[str, Build] = {
    **{name: lambda n, f=name: getattr(opset, f)(n.x(2, 5, low=-0.9, high=0.9)) for name in UNARY.split()},
    **{name: lambda n, f=name: getattr(opset, f)(n.x(2, 3, 4), n.x(3, 1, low=1)) for name in BINARY.split()},
    "acosh": lambda n: opset.acosh(n.x(2, 5, low=1.1, high=3)),
    "atanh": lambda n: opset.atanh(n.x(2, 5, low=-0.9, high=0.9)),
    "log": lambda n: opset.log(n.x(2, 5, low=0.1)),
    "sqrt": lambda n: opset.sqrt(n.x(2, 5, low=0.1)),
    "power": lambda n: opset.power(n.x(2, 5, low=0.1), n.x(5)),
    "power one half": lambda n: opset.power(n.x(2, 5, low=0.1), const(0.5)),
    "gelu": lambda n: opset.gelu(n.x(2, 5), "erf"),
    "gelu tanh": lambda n: opset.gelu(n.x(2, 5), "tanh"),
    "swish beta": lambda n: opset.swish(n.x(2, 5), const(1.7)),
    "elu": lambda n: opset.elu(n.x(2, 5), 0.7),
    "selu": lambda n: opset.selu(n.x(2, 5), const([1.5]), const([1.1])),
    "hard sigmoid": lambda n: opset.hard_sigmoid(n.x(2, 5), const(0.3), const(0.4)),
    "clamp": lambda n: opset.clamp(n.x(2, 5), -0.5, 0.7),
    "clamp of integers": lambda n: opset.clamp(n.x(2, 5, dtype=np.int32, low=-9, high=9), -2.5, 3.5),
    "prelu by channel": lambda n: opset.prelu(n.x(2, 3, 4, 4), const([0.1, 0.2, 0.3])),
    "prelu of one": lambda n: opset.prelu(n.x(2, 3, 4), const([0.1])),
    "softmax": lambda n: opset.softmax(n.x(2, 3, 4), 1),
    "log softmax": lambda n: opset.log_softmax(n.x(2, 3, 4), -1),
    "round even": lambda n: opset.round(n.x(6, of=[-2.5, -1.5, -0.5, 0.5, 1.5, 2.6]), "half_to_even"),
    "round away": lambda n: opset.round(n.x(6, of=[-2.5, -1.5, -0.5, 0.5, 1.5, 2.6]), "half_away_from_zero"),
    "divide integers": lambda n: opset.divide(
        n.x(20, dtype=np.int32, low=-9, high=9), n.x(20, dtype=np.int32, low=1, high=4)
    ),
    "mod": lambda n: opset.mod(n.x(9, low=-5, high=5), n.x(9, low=1, high=3)),
    "floor mod": lambda n: opset.floor_mod(n.x(9, low=-5, high=5), n.x(9, low=1, high=3)),
    "floor mod of integers": lambda n: opset.floor_mod(
        n.x(9, dtype=np.int32, low=-9, high=9), n.x(9, dtype=np.int32, low=1, high=4)
    ),
    "greater equal": lambda n: opset.greater_equal(
        n.x(3, 4, dtype=np.int32, low=0, high=3), n.x(4, dtype=np.int32, low=0, high=3)
    ),
    "less equal": lambda n: opset.less_equal(
        n.x(3, 4, dtype=np.int32, low=0, high=3), n.x(4, dtype=np.int32, low=0, high=3)
    ),
    "logical": lambda n: opset.logical_or(
        opset.logical_and(n.x(9, dtype=np.bool_), n.x(9, dtype=np.bool_)),
        opset.logical_xor(opset.logical_not(n.x(9, dtype=np.bool_)), n.x(9, dtype=np.bool_)),
    ),
    "bitwise": lambda n: opset.bitwise_or(
        opset.bitwise_and(n.x(9, dtype=np.int32, low=0, high=99), n.x(9, dtype=np.int32, low=0, high=99)),
        opset.bitwise_xor(opset.bitwise_not(n.x(9, dtype=np.int32, low=0, high=99)), const([7], np.int32)),
    ),
    "select": lambda n: opset.select(n.x(3, 4, dtype=np.bool_), n.x(3, 4), n.x(4)),
    "is nan, inf, finite": lambda n: [
        getattr(opset, f)(x)
        for x in [n.x(5, of=[1, np.nan, np.inf, -np.inf, 0])]
        for f in ("is_nan", "is_inf", "is_finite")
    ],
    "convolution": lambda n: conv(
        n, n.x(2, 3, 9, 9), n.w(4, 3, 3, 3), pads_begin=[1, 0], pads_end=[2, 1], strides=[2, 1]
    ),
    "convolution dilated": lambda n: conv(n, n.x(1, 3, 9, 9), n.w(4, 3, 3, 3), dilations=[2, 2]),
    "convolution same": lambda n: conv(n, n.x(1, 3, 8, 9), n.w(4, 3, 3, 2), strides=[2, 2], auto_pad="same_upper"),
    "convolution same lower": lambda n: conv(
        n, n.x(1, 3, 8, 9), n.w(4, 3, 2, 2), strides=[2, 2], auto_pad="same_lower"
    ),
    "convolution valid": lambda n: conv(n, n.x(1, 3, 8, 9), n.w(4, 3, 3, 3), auto_pad="valid"),
    "convolution of free size": lambda n: conv(n, n.x(-1, 3, -1, -1), n.w(4, 3, 2, 2), auto_pad="same_upper"),
    "convolution with bias": lambda n: opset.add(conv(n, n.x(1, 3, 9, 9), n.w(4, 3, 3, 3)), const(n.w(1, 4, 1, 1))),
    "convolution with a number": lambda n: opset.add(const(0.5), conv(n, n.x(1, 3, 9, 9), n.w(4, 3, 3, 3))),
    "convolution with a plane": lambda n: opset.add(conv(n, n.x(1, 3, 5, 5), n.w(4, 3, 3, 3)), const(n.w(4, 3, 3))),
    "group convolution": lambda n: group(n, n.x(1, 6, 7, 7), n.w(3, 4, 2, 3, 3)),
    "depthwise": lambda n: group(n, n.x(-1, 6, 7, 7), n.w(6, 1, 1, 3, 3), pads_begin=[1, 1], pads_end=[1, 1]),
    "backprop": lambda n: back(n, n.x(1, 3, 5, 5), n.w(3, 4, 3, 3), pads_begin=[1, 1], pads_end=[1, 1]),
    "backprop output padding": lambda n: back(n, n.x(1, 3, 5, 5), n.w(3, 4, 3, 3), output_padding=[1, 1]),
    "backprop shape": lambda n: back(n, n.x(1, 3, 5, 5), n.w(3, 4, 3, 3), [10, 10], auto_pad="same_upper"),
    "backprop shape lower": lambda n: back(n, n.x(1, 3, 5, 5), n.w(3, 4, 3, 3), [10, 10], auto_pad="same_lower"),
    "backprop groups": lambda n: back(n, n.x(1, 6, 5, 5), n.w(3, 2, 4, 3, 3), grouped=True),
    "max pool": lambda n: pool(n.x(1, 3, 9, 9)).output(0),
    "max pool ceil": lambda n: pool(n.x(1, 3, 10, 10), rounding_type="ceil").output(0),
    "max pool pads": lambda n: pool(n.x(1, 3, 9, 9), pads_begin=[1, 1], pads_end=[1, 1], rounding_type="ceil").output(
        0
    ),
    "max pool same": lambda n: pool(n.x(1, 3, 8, 8), auto_pad="same_upper").output(0),
    "max pool dilated": lambda n: pool(n.x(1, 3, 9, 9), dilations=[2, 2]).output(0),
    "max pool of free size": lambda n: pool(n.x(-1, 3, 8, 8), rounding_type="ceil").output(0),
    "average pool": lambda n: pool(n.x(1, 3, 9, 9), "avg"),
    "average pool ceil": lambda n: pool(n.x(1, 3, 10, 10), "avg", rounding_type="ceil"),
    "average pool pads": lambda n: pool(n.x(1, 3, 9, 9), "avg", pads_begin=[1, 1], pads_end=[1, 1]),
    "average pool with pads": lambda n: pool(
        n.x(1, 3, 9, 9), "avg", pads_begin=[1, 1], pads_end=[1, 1], exclude_pad=False
    ),
    "average pool ceil with pads": lambda n: pool(
        n.x(1, 3, 10, 10), "avg", pads_begin=[1, 1], pads_end=[1, 1], exclude_pad=False, rounding_type="ceil"
    ),
    "global average pool": lambda n: pool(n.x(1, 3, 9, 9), "avg", 9, 1),
    "adaptive average pool": lambda n: opset.adaptive_avg_pool(n.x(1, 3, 8, 6), i64(4, 2)),
    "adaptive max pool": lambda n: opset.adaptive_max_pool(n.x(1, 3, 8, 6), i64(1, 1)).output(0),
    "batch norm": lambda n: opset.batch_norm_inference(n.x(2, 3, 4), *(const(n.w(3, low=0.5)) for _ in range(4)), 1e-3),
    "mvn last axes": lambda n: opset.mvn(n.x(2, 3, 4), i64(-1), True, 1e-3, "inside_sqrt"),
    "mvn channels": lambda n: opset.mvn(n.x(2, 3, 4, 4), i64(1), True, 1e-3, "outside_sqrt"),
    "mvn centred": lambda n: opset.mvn(n.x(2, 3, 4, 4), i64(2, 3), False, 1e-3, "inside_sqrt"),
    "mvn 2": lambda n: opset2.mvn(n.x(2, 3, 4, 4), False, True, 1e-3),
    "lrn": lambda n: opset.lrn(n.x(1, 7, 3, 3), i64(1), 0.3, 0.75, 1.0, 5),
    "normalize l2": lambda n: opset.normalize_l2(n.x(1, 7, 3, 3), i64(1), 0.3, "add"),
    "normalize l2 max": lambda n: opset.normalize_l2(n.x(1, 7, 3, 3), i64(1), 9.0, "max"),
    "grn": lambda n: NodeFactory("opset1").create("GRN", [n.x(1, 5, 3, 3)], {"bias": 0.3}),
    "group normalization": lambda n: opset.group_normalization(n.x(2, 6, 3, 3), const(n.w(6)), const(n.w(6)), 3, 1e-3),
    "matmul": lambda n: opset.matmul(n.x(2, 3, 4), n.x(4, 5), False, False),
    "matmul of weights": lambda n: opset.matmul(n.x(2, 3, 4), const(n.w(5, 4)), False, True),
    "matmul both transposed": lambda n: opset.matmul(n.x(2, 4, 3), n.x(2, 5, 4), True, True),
    "matmul of vectors": lambda n: opset.matmul(n.x(4), n.x(4, 5), True, False),
    "einsum": lambda n: opset.einsum([n.x(2, 3, 4), n.x(2, 4, 5)], "bij,bjk->bik"),
    "attention": lambda n: opset.scaled_dot_product_attention(n.x(1, 2, 5, 4), n.x(1, 2, 5, 4), n.x(1, 2, 5, 4)),
    "attention causal": lambda n: opset.scaled_dot_product_attention(
        n.x(1, 2, 5, 4), n.x(1, 2, 5, 4), n.x(1, 2, 5, 4), causal=True
    ),
    "attention mask": lambda n: opset.scaled_dot_product_attention(
        n.x(1, 2, 5, 4), n.x(1, 2, 5, 4), n.x(1, 2, 5, 4), n.x(1, 1, 5, 5)
    ),
    "reshape special zero": lambda n: opset.reshape(n.x(-1, 3, 4), i64(0, -1), True),
    "reshape": lambda n: opset.reshape(n.x(2, 3, 4), const([3, -1], np.int32), False),
    "transpose": lambda n: opset.transpose(n.x(2, 3, 4), i64(2, 0, 1)),
    "transpose reversed": lambda n: opset.transpose(n.x(2, 3, 4), const(np.zeros(0), np.int64)),
    "squeeze": lambda n: opset.squeeze(n.x(1, 3, 1, 4), i64(0, -2)),
    "squeeze all": lambda n: opset.squeeze(n.x(1, 3, 1, 4)),
    "unsqueeze": lambda n: opset.unsqueeze(n.x(3, 4), i64(0, -1)),
    "shape of": lambda n: opset.shape_of(n.x(-1, 3), "i32"),
    "range": lambda n: opset.range(n.x(of=2, dtype=np.int32), const(9, np.int32), const(3, np.int32), "i32"),
    "convert": lambda n: opset.convert(n.x(9, low=-9, high=9), "i32"),
    "convert like": lambda n: opset.convert_like(n.x(9, low=-9, high=9), const([1], np.int64)),
    "broadcast": lambda n: opset.broadcast(n.x(3, 1), i64(2, 3, 4)),
    "broadcast both": lambda n: opset.broadcast(n.x(3, 4), i64(2, 3, 1), broadcast_spec="BIDIRECTIONAL"),
    "broadcast explicit": lambda n: opset.broadcast(n.x(3), i64(2, 3, 4), i64(1), "EXPLICIT"),
    "tile": lambda n: opset.tile(n.x(3, 4), i64(2, 1, 3)),
    "tile short": lambda n: opset.tile(n.x(2, 3, 4), i64(2)),
    "one hot": lambda n: opset.one_hot(
        n.x(5, dtype=np.int32, low=0, high=4), const(4, np.int64), const(3.0), const(-1.0), 0
    ),
    "non zero": lambda n: opset.non_zero(n.x(3, 4, dtype=np.int32, low=0, high=2), "i32"),
    "strided slice": lambda n: strided(n.x(6, 7, 8), [1, 0, -3], [5, 0, 8], [2, 1, 1], end_mask=[0, 1, 0]),
    "strided slice dropped": lambda n: strided(n.x(6, 7, 8), [-1, 2], [0, 6], [1, 2], shrink_axis_mask=[1, 0]),
    "strided slice added": lambda n: strided(
        n.x(6, 7, 8), [0, 0, 1], [0, 0, 3], [1, 1, 1], new_axis_mask=[1, 0, 0], ellipsis_mask=[0, 1, 0]
    ),
    "strided slice backwards": lambda n: strided(
        n.x(6, 7), [0, 5], [0, 0], [-1, -2], begin_mask=[1, 0], end_mask=[1, 0]
    ),
    "strided slice moving": lambda n: opset.strided_slice(
        n.x(6, 7), n.x(2, dtype=np.int64, of=[1, 0]), n.x(2, dtype=np.int64, of=[4, 5]), i64(1, 2), [0, 1], [0, 0]
    ),
    "slice": lambda n: opset.slice(n.x(6, 7), i64(1), i64(-1), i64(2), i64(1)),
    "slice all axes": lambda n: opset.slice(n.x(6, 7), i64(1, -1), i64(5, -8), i64(1, -2)),
    "split": lambda n: list(opset.split(n.x(2, 6), const(1, np.int64), 3).outputs()),
    "variadic split": lambda n: list(opset.variadic_split(n.x(2, 7), const(-1, np.int64), i64(2, -1, 1)).outputs()),
    "concat": lambda n: opset.concat([n.x(2, 3), n.x(2, 4), const(n.w(2, 1))], -1),
    "pad": lambda n: opset.pad(n.x(3, 4), i64(1, 0), i64(0, 2), "constant", const(1.5)),
    "pad reflected": lambda n: opset.pad(n.x(3, 4), i64(1, 0), i64(0, 2), "reflect"),
    "pad edge": lambda n: opset.pad(n.x(3, 4), i64(1, 0), i64(0, 2), "edge"),
    "pad cut": lambda n: opset.pad(n.x(3, 4), i64(-1, 0), i64(0, 2), "constant", const(0.5)),
    "reverse": lambda n: NodeFactory("opset1").create("Reverse", [n.x(3, 4), i64(1)], {"mode": "index"}),
    "roll": lambda n: opset.roll(n.x(3, 4), i64(1, -2), i64(0, 1)),
    "gather": lambda n: opset.gather(n.x(3, 4), n.x(2, dtype=np.int32, low=0, high=3), const(1, np.int64)),
    "gather batches": lambda n: opset.gather(
        n.x(3, 4), n.x(3, 2, dtype=np.int32, low=0, high=4), const(1, np.int64), 1
    ),
    "gather from the end": lambda n: o8.gather(n.x(3, 4), const([-1, 0], np.int32), const(0, np.int64)),
    "gather elements": lambda n: opset.gather_elements(n.x(3, 4), n.x(3, 2, dtype=np.int32, low=0, high=4), 1),
    "gather nd": lambda n: opset.gather_nd(n.x(3, 4, 5), n.x(2, 2, dtype=np.int32, low=0, high=3), 0),
    "gather nd batches": lambda n: opset.gather_nd(n.x(3, 4, 5), n.x(3, 1, dtype=np.int32, low=0, high=3), 1),
    "scatter update": lambda n: opset.scatter_update(n.x(3, 4), const([2, 0], np.int32), n.x(2, 4), const(0, np.int64)),
    "scatter update axis": lambda n: opset.scatter_update(
        n.x(3, 4, 5), const([[2, 0]], np.int32), n.x(3, 1, 2, 5), const(1, np.int64)
    ),
    "scatter elements": lambda n: opset.scatter_elements_update(
        n.x(3, 4), const([[2, 0]], np.int32), n.x(1, 2), const(1, np.int64)
    ),
    "scatter elements sum": lambda n: opset.scatter_elements_update(
        n.x(3, 4), const([[2, 2]], np.int32), n.x(1, 2), const(1, np.int64), "sum", True
    ),
    "scatter nd": lambda n: opset.scatter_nd_update(n.x(3, 4), const([[2], [0]], np.int32), n.x(2, 4)),
    "cum sum": lambda n: opset.cum_sum(n.x(3, 4), const(1, np.int64), True, True),
    "reverse sequence": lambda n: opset.reverse_sequence(n.x(3, 4, 2), const([2, 4, 1], np.int64), 0, 1),
    "top k": lambda n: list(opset.topk(n.x(3, 7), const(3, np.int64), 1, "max", "value", "i32").outputs()),
    "top k smallest": lambda n: list(opset.topk(n.x(3, 7), const(2, np.int64), 0, "min", "value", "i64").outputs()),
    "shuffle channels": lambda n: opset.shuffle_channels(n.x(-1, 6, 2, 3), 1, 3),
    "depth to space": lambda n: opset.depth_to_space(n.x(1, 12, 2, 3), "blocks_first", 2),
    "depth to space depth first": lambda n: opset.depth_to_space(n.x(1, 12, 2, 3), "depth_first", 2),
    "space to depth": lambda n: opset.space_to_depth(n.x(1, 3, 4, 6), "blocks_first", 2),
    "space to depth depth first": lambda n: opset.space_to_depth(n.x(1, 3, 4, 6), "depth_first", 2),
    "space to batch": lambda n: opset.space_to_batch(
        n.x(2, 3, 4, 5), i64(1, 1, 2, 3), i64(0, 0, 1, 0), i64(0, 0, 1, 1)
    ),
    "batch to space": lambda n: opset.batch_to_space(
        n.x(12, 3, 2, 2), i64(1, 1, 2, 3), i64(0, 0, 1, 0), i64(0, 0, 0, 1)
    ),
    **{
        name: lambda n, f=name: getattr(opset, f)(n.x(2, 3, 4, 5), i64(1, -1), False)
        for name in ("reduce_l1", "reduce_l2", "reduce_max", "reduce_min", "reduce_mean", "reduce_prod", "reduce_sum")
    },
    "reduce mean as pooling": lambda n: opset.reduce_mean(n.x(2, 3, 4, 5), i64(2, 3), False),
    "reduce sum keeping": lambda n: opset.reduce_sum(n.x(2, 3, 4), i64(0), True),
    "reduce and": lambda n: opset.reduce_logical_and(n.x(3, 4, dtype=np.bool_), i64(0), False),
    "reduce or": lambda n: opset.reduce_logical_or(n.x(3, 4, dtype=np.bool_), i64(1), True),
    "resize nearest": lambda n: resize(
        n.x(1, 2, 4, 5), "nearest", [8, 10], None, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize nearest simple": lambda n: resize(
        n.x(1, 2, 4, 5), "nearest", [7, 11], None, coordinate_transformation_mode="asymmetric", nearest_mode="simple"
    ),
    "resize nearest smaller": lambda n: resize(n.x(1, 2, 7, 9), "nearest", [4, 5], None, nearest_mode="ceil"),
    "resize nearest tensorflow": lambda n: resize(
        n.x(1, 2, 7, 9),
        "nearest",
        [5, 12],
        None,
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        nearest_mode="floor",
    ),
    "resize linear": lambda n: resize(n.x(1, 2, 4, 5), "linear", [7, 12], None),
    "resize linear onnx": lambda n: resize(n.x(1, 2, 4, 5), "linear_onnx", [8, 10], None),
    "resize linear smaller": lambda n: resize(
        n.x(1, 2, 9, 8), "linear_onnx", [5, 4], None, coordinate_transformation_mode="pytorch_half_pixel"
    ),
    "resize linear corners": lambda n: resize(
        n.x(1, 2, 4, 5), "linear_onnx", [7, 9], None, coordinate_transformation_mode="align_corners"
    ),
    "resize cubic": lambda n: resize(n.x(1, 2, 4, 5), "cubic", [8, 9], None, cube_coeff=-0.5),
    "resize scales": lambda n: resize(n.x(-1, 2, -1, -1), "linear_onnx", None, [2.5, 1.5]),
    "resize sizes of a free batch": lambda n: resize(n.x(-1, 2, 4, 5), "linear_onnx", [7, 11], None),
    "resize 1": lambda n: o1.interpolate(
        n.x(1, 2, 4, 5),
        i64(8, 10),
        {
            "axes": [2, 3],
            "mode": "nearest",
            "align_corners": False,
            "antialias": False,
            "pads_begin": [0],
            "pads_end": [0],
        },
    ),
    "resize 4": lambda n: NodeFactory("opset4").create(
        "Interpolate",
        [n.x(1, 2, 4, 5), i64(8, 10), const([2.0, 2.0]), i64(2, 3)],
        {
            "mode": "linear_onnx",
            "shape_calculation_mode": "sizes",
            "coordinate_transformation_mode": "half_pixel",
            "pads_begin": [0],
            "pads_end": [0],
        },
    ),
    "nms": lambda n: o9.non_max_suppression(
        n.x(
            1,
            6,
            4,
            of=[[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 0, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1], [0, 90, 1, 91]]],
        ),
        n.x(1, 2, 6, low=0, high=1),
        const(3, np.int64),
        const(0.5),
        const(0.1),
        const(0.0),
        sort_result_descending=False,
        output_type="i32",
    ).output(0),
    "detections": lambda n: detections(n),
    "detections with places left": lambda n: detections(n, top_k=400, keep_top_k=[200], clip_before_nms=True),
    "detections without limit": lambda n: detections(n, top_k=-1, keep_top_k=[50], clip_after_nms=False),
    "no detections": lambda n: detections(n, 0.2),
    "prior boxes": lambda n: opset.add(
        n.x(2, 144),
        opset.prior_box(
            opset.slice(opset.shape_of(n.x(1, 8, 3, 4)), i64(2), i64(4), i64(1)),
            i64(30, 40),
            {"min_size": [5.0], "max_size": [9.0], "aspect_ratio": [2.0], "flip": False, "step": 10.0, "offset": 0.5},
        ),
    ),
    "roi align": lambda n: o9.roi_align(
        n.x(1, 3, 9, 9),
        n.x(2, 4, of=[[0, 0, 8, 8], [1, 2, 7, 5]]),
        const([0, 0], np.int32),
        3,
        2,
        2,
        0.5,
        "avg",
        "half_pixel_for_nn",
    ),
    "grid sample": lambda n: o9.grid_sample(
        n.x(1, 2, 5, 5),
        n.x(1, 3, 4, 2, low=-1.2, high=1.2),
        {"mode": "bilinear", "padding_mode": "border", "align_corners": True},
    ),
    "dft": lambda n: opset.dft(n.x(3, 6, 5, 2), i64(1, 2)),
    "dft cut and padded": lambda n: opset.dft(n.x(3, 6, 5, 2), i64(1, 2), i64(4, 7)),
    "idft": lambda n: opset.idft(n.x(3, 6, 2), i64(1)),
    "rdft": lambda n: opset.rdft(n.x(3, 6, 5), i64(1, 2)),
    "rdft cut": lambda n: opset.rdft(n.x(3, 6), i64(1), i64(5)),
    "irdft": lambda n: opset.irdft(n.x(3, 4, 2), i64(1)),
    "irdft odd": lambda n: opset.irdft(n.x(3, 4, 2), i64(1), i64(7)),
    "irdft of two axes": lambda n: opset.irdft(n.x(5, 4, 2), i64(0, 1)),
    "lstm": lambda n: lstm(n, "lstm", "FORWARD"),
    "lstm reverse": lambda n: lstm(n, "lstm", "REVERSE"),
    "lstm both ways": lambda n: lstm(n, "lstm", "BIDIRECTIONAL"),
    "gru": lambda n: lstm(n, "gru", "FORWARD"),
    "gru linear": lambda n: lstm(n, "gru", "BIDIRECTIONAL", linear_before_reset=True),
    "rnn": lambda n: lstm(n, "rnn", "FORWARD"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_computes_the_same(case: str, tmp_path: Path) -> None:
    net = Net()
    _, ours, theirs = both(net, CASES[case](net), tmp_path)
    assert_same(ours, theirs)


def test_no_line_of_the_table_is_without_a_case() -> None:
    built = set()
    for build in CASES.values():
        net = Net()
        made = build(net)
        waiting = [node.get_node() if hasattr(node, "get_node") else node for node in np.ravel(made).tolist()]
        while waiting:
            node = waiting.pop()
            built.add(node.get_type_name())
            waiting += [value.get_node() for value in node.input_values()]
    elsewhere = {"FakeQuantize", "Identity"}
    assert set(TABLE) - built == elsewhere & set(TABLE)
    assert not set(TABLE) & set(REFUSED)
