"""What each layer of 2019 computes, against NumPy by hand, on the reference evaluator and on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ir_2019 import Ir, drawn

from fewbits.errors import ModelError
from fewbits.frontends import legacy_ir
from models import Array, check, f32, on_onnxruntime, oracle

X = drawn(1, 4, 6, 5)
Data = dict[str, object]


def results(made: Ir, folder: Path, **feeds: Array) -> Array:
    """The one output, on which both evaluators agree."""
    model = legacy_ir.load(made.write(folder))
    check(model)
    feeds = feeds or {"x": X}
    [found] = on_onnxruntime(model, feeds).values()
    if not any(node.op_type == "LRN" for node in model.graph):  # of it the reference sums the first channels only
        [reference] = oracle(model, feeds).values()
        np.testing.assert_allclose(found, reference, atol=1e-5)
    return found


def one(kind: str, out: tuple[int, ...], data: Data | None = None, version: int = 6, **blobs: Array) -> Ir:
    made = Ir(version)
    x = made.input(*X.shape)
    made.add(kind, "y", [x], out, data=data, **blobs)
    return made


def convolved(x: Array, w: Array, b: Array, pads: tuple[int, int, int, int], stride: int, dilation: int = 1) -> Array:
    """Convolution of one image in one group; pads are top, left, bottom, right."""
    top, left, bottom, right = pads
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
    reach = (w.shape[2] - 1) * dilation + 1
    height, width = ((size - reach) // stride + 1 for size in padded.shape[1:])
    out = np.empty((1, len(w), height, width), np.float32)
    for i in range(height):
        for j in range(width):
            y, z = i * stride, j * stride
            part = padded[:, y : y + reach : dilation, z : z + reach : dilation]
            out[0, :, i, j] = np.tensordot(w, part, 3) + b
    return out


W, B = drawn(3, 4, 3, 3, seed=1), drawn(3, seed=2)


@pytest.mark.parametrize(
    ("data", "pads", "stride", "dilation"),
    [
        ({"pads_begin": "1,0", "pads_end": "2,1", "strides": "2,2"}, (1, 0, 2, 1), 2, 1),
        ({"strides": "1,1", "dilations": "2,2", "pads_begin": "1,1", "pads_end": "1,1"}, (1, 1, 1, 1), 1, 2),
        ({"auto_pad": "same_upper", "strides": "2,2", "pads_begin": "9,9"}, (0, 1, 1, 1), 2, 1),
        ({"auto_pad": "same_lower", "strides": "2,2"}, (1, 1, 0, 1), 2, 1),
        ({"auto_pad": "valid", "strides": "0,0", "pads_begin": "1,1"}, (0, 0, 0, 0), 1, 1),
    ],
)
def test_convolution(data: Data, pads: tuple[int, int, int, int], stride: int, dilation: int, tmp_path: Path) -> None:
    expected = convolved(X, W, B, pads, stride, dilation)
    made = one("Convolution", expected.shape, {"kernel": "3,3", "output": 3, **data}, weights=W, biases=B)
    np.testing.assert_allclose(results(made, tmp_path), expected, atol=1e-5)


def test_convolution_of_version_2(tmp_path: Path) -> None:
    """Its own attributes, and weights that are no part of <blobs>."""
    expected = convolved(X, W, B, (1, 0, 2, 0), 1)
    data = {"kernel-y": 3, "kernel-x": 3, "pad-y": 1, "pad-x": 0, "pad-b": 2, "stride-x": 1, "output": 3}
    made = one("Convolution", expected.shape, data, 2, weights=W, biases=B)
    made.layers[1] = made.layers[1].replace("<blobs>", "").replace("</blobs>", "").replace("<data", "<convolution_data")
    np.testing.assert_allclose(results(made, tmp_path), expected, atol=1e-5)


def test_groups_and_weights_in_half_precision(tmp_path: Path) -> None:
    w = drawn(4, 1, 1, 1, seed=3).astype(np.float16)
    data = {"kernel": "1,1", "output": 4, "group": 4}
    made = one("Convolution", X.shape, data, weights=w)
    np.testing.assert_allclose(results(made, tmp_path), X * w.astype(np.float32).reshape(4, 1, 1), rtol=1e-6)


def test_weights_may_come_from_a_constant_layer(tmp_path: Path) -> None:
    made = Ir(7)
    x, w = made.input(*X.shape), made.const("w", W)
    expected = convolved(X, W, np.zeros(3, np.float32), (0, 0, 0, 0), 1)
    made.add("Convolution", "y", [x, w], expected.shape, data={"kernel": "3,3", "output": 3})
    np.testing.assert_allclose(results(made, tmp_path), expected, atol=1e-5)


def test_deconvolution_gives_the_size_it_declares(tmp_path: Path) -> None:
    """Stride 2, kernel 3, pads 1: 11 x 9; declared one larger, the last row and column are computed as well."""
    w = drawn(4, 2, 3, 3, seed=4)
    full = np.zeros((1, 2, 13, 11), np.float32)
    for i in range(6):
        for j in range(5):
            full[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.tensordot(X[0, :, i, j], w, 1)
    data = {"kernel": "3,3", "output": 2, "strides": "2,2", "pads_begin": "1,1", "pads_end": "1,1"}
    made = one("Deconvolution", (1, 2, 11, 9), data, weights=w)
    np.testing.assert_allclose(results(made, tmp_path), full[:, :, 1:12, 1:10], atol=1e-5)
    made = one("Deconvolution", (1, 2, 12, 10), data, weights=w)
    np.testing.assert_allclose(results(made, tmp_path), full[:, :, 1:13, 1:11], atol=1e-5)
    with pytest.raises(ModelError, match="which its kernel, strides and pads do not give"):
        legacy_ir.load(one("Deconvolution", (1, 2, 13, 10), data, weights=w).write(tmp_path))


def pooled(reduce: Callable[[Array], object], pads: int, size: tuple[int, int], count: str = "") -> Array:
    """3 x 3 windows at stride 2, cut where input and padding end."""
    out = np.empty((1, 4, *size), np.float32)
    for i in range(size[0]):
        for j in range(size[1]):
            top, left = 2 * i - pads, 2 * j - pads
            bottom, right = min(top + 3, 6 + pads), min(left + 3, 5 + pads)
            part = X[0, :, max(top, 0) : min(bottom, 6), max(left, 0) : min(right, 5)]
            held = (bottom - top) * (right - left) if count == "padding" else part[0].size
            out[0, :, i, j] = part.max((1, 2)) if reduce is np.max else part.sum((1, 2)) / held
    return out


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("excluded", ["true", "false"])
@pytest.mark.parametrize(
    ("rounding", "pads", "size"), [("floor", 1, (3, 3)), ("floor", 0, (2, 2)), ("ceil", 0, (3, 2))]
)
def test_pooling(method: str, excluded: str, rounding: str, pads: int, size: tuple[int, int], tmp_path: Path) -> None:
    data = {"kernel": "3,3", "strides": "2,2", "pads_begin": f"{pads},{pads}", "pads_end": f"{pads},{pads}"}
    data |= {"pool-method": method, "exclude-pad": excluded, "rounding_type": rounding}
    expected = pooled(np.max if method == "max" else np.mean, pads, size, "" if excluded == "true" else "padding")
    np.testing.assert_allclose(results(one("Pooling", (1, 4, *size), data), tmp_path), expected, atol=1e-6)


def test_rounding_that_is_not_written_counts_the_last_window(tmp_path: Path) -> None:
    data = {"kernel-x": 3, "kernel-y": 3, "stride-x": 2, "stride-y": 2, "pool-method": "max"}
    expected = pooled(np.max, 0, (3, 2))
    np.testing.assert_allclose(results(one("Pooling", expected.shape, data, 2), tmp_path), expected)


def test_fully_connected_takes_the_image_as_a_row(tmp_path: Path) -> None:
    w, b = drawn(7, 120, seed=5), drawn(7, seed=6)
    made = one("FullyConnected", (1, 7), {"out-size": 7}, weights=w, biases=b)
    np.testing.assert_allclose(results(made, tmp_path), X.reshape(1, 120) @ w.T + b, atol=1e-5)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


SLOPES, MEANS, VARIANCES = drawn(4, seed=7), drawn(4, seed=8), np.abs(drawn(4, seed=9)) + 0.5
SQUARES = (X**2).sum(1, keepdims=True)


def across(x: Array) -> Array:
    padded = np.pad(x[0] ** 2, ((1, 1), (0, 0), (0, 0)))
    return x / (1 + 0.3 / 3 * sum(padded[i : i + 4] for i in range(3))[None]) ** 0.75


def around(x: Array) -> Array:
    padded = np.pad(x[0] ** 2, ((0, 0), (1, 1), (1, 1)))
    total = sum(padded[:, i : i + 6, j : j + 5] for i in range(3) for j in range(3))
    return x / (1 + 0.3 / 9 * total[None]) ** 0.75


def softmax(x: Array, axis: int) -> Array:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def channels(a: Array) -> Array:
    return a.reshape(-1, 1, 1)


CASES: dict[str, tuple[str, Data, dict[str, Array], Array]] = {
    "relu": ("ReLU", {"negative_slope": "0.0"}, {}, np.maximum(X, 0)),
    "relu without data": ("ReLU", {}, {}, np.maximum(X, 0)),
    "leaky": ("ReLU", {"negative_slope": "0.1"}, {}, np.where(X > 0, X, 0.1 * X)),
    "clamp": ("Clamp", {"min": "-0.5", "max": "0.75"}, {}, X.clip(-0.5, 0.75)),
    "elu": ("ELU", {"alpha": "0.7"}, {}, np.where(X > 0, X, 0.7 * (np.exp(X) - 1))),
    "prelu": ("PReLU", {"channel_shared": "0"}, {"weights": SLOPES}, np.where(X > 0, X, channels(SLOPES) * X)),
    "prelu shared": ("PReLU", {"channel_shared": 1}, {"weights": f32(0.2)}, np.where(X > 0, X, np.float32(0.2) * X)),
    "sigmoid": ("Sigmoid", {}, {}, sigmoid(X)),
    "activation": ("Activation", {"type": "sigmoid"}, {}, sigmoid(X)),
    "tanh": ("TanH", {}, {}, np.tanh(X)),
    "activation tanh": ("Activation", {"type": "tanh"}, {}, np.tanh(X)),
    "exp": ("Exp", {}, {}, np.exp(X)),
    "relu6": ("Activation", {"type": "relu6"}, {}, X.clip(0, 6)),
    "power": ("Power", {"power": "2", "scale": "0.5", "shift": "-1"}, {}, (0.5 * X - 1) ** 2),
    "power of one": ("Power", {"power": "1", "scale": "1", "shift": "0"}, {}, X),
    "scale": ("ScaleShift", {}, {"weights": SLOPES, "biases": MEANS}, X * channels(SLOPES) + channels(MEANS)),
    "scale alone": ("ScaleShift", {}, {"weights": f32(3)}, X * 3),
    "batch norm": (
        "BatchNormalization",
        {"epsilon": "0.25"},
        {"weights": VARIANCES, "biases": MEANS},
        (X - channels(MEANS)) / np.sqrt(channels(VARIANCES) + 0.25),
    ),
    "norm": ("Norm", {"alpha": 0.3, "beta": 0.75, "local-size": 3, "region": "across"}, {}, across(X)),
    "norm same": ("Norm", {"alpha": 0.3, "beta": 0.75, "local-size": 3, "region": "same"}, {}, around(X)),
    "normalize": (
        "Normalize",
        {"across_spatial": 0, "channel_shared": 0, "eps": 0.1},
        {"weights": SLOPES},
        channels(SLOPES) * X / np.sqrt(SQUARES + 0.1),
    ),
    "normalize all": (
        "Normalize",
        {"across_spatial": 1, "channel_shared": 1, "eps": 0.1},
        {"weights": f32(20)},
        20 * X / np.sqrt((X**2).sum() + 0.1),
    ),
    "grn": ("GRN", {"bias": "2.0"}, {}, X / np.sqrt(SQUARES + 2)),
    "mvn": (
        "MVN",
        {"across_channels": 0, "normalize_variance": 1, "eps": 0.2},
        {},
        (X - X.mean((2, 3), keepdims=True)) / (X.std((2, 3), keepdims=True) + 0.2),
    ),
    "mvn across": ("MVN", {"across_channels": 1, "normalize_variance": 0, "eps": 0.2}, {}, X - X.mean()),
    "softmax": ("SoftMax", {}, {}, softmax(X, 1)),
    "softmax last": ("SoftMax", {"axis": 3}, {}, softmax(X, 3)),
    "flatten": ("Flatten", {"axis": 1, "end_axis": -1}, {}, X.reshape(1, 120)),
    "reshape": ("Reshape", {"dim": "0,-1,5"}, {}, X.reshape(1, 24, 5)),
    "permute": ("Permute", {"order": "0,2,3,1"}, {}, X.transpose(0, 2, 3, 1)),
    "crop": ("Crop", {"axis": "2,3", "offset": "1,2", "dim": "3,2"}, {}, X[:, :, 1:4, 2:4]),
    "crop both ends": ("Crop", {"axis": "3", "crop_begin": "1", "crop_end": "2"}, {}, X[..., 1:3]),
    "tile": ("Tile", {"axis": 1, "tiles": 3}, {}, np.tile(X, (1, 3, 1, 1))),
    "pad": (
        "Pad",
        {"pads_begin": "0,0,1,2", "pads_end": "0,1,0,0", "pad_mode": "constant", "pad_value": "1.5"},
        {},
        np.pad(X, ((0, 0), (0, 1), (1, 0), (2, 0)), constant_values=1.5),
    ),
    "pad reflect": (
        "Pad",
        {"pads_begin": "0,0,1,2", "pads_end": "0,0,2,0", "pad_mode": "reflect"},
        {},
        np.pad(X, ((0, 0), (0, 0), (1, 2), (2, 0)), mode="reflect"),
    ),
    "nearest": ("Resample", {"type": "caffe.ResampleParameter.NEAREST", "factor": 2}, {}, X.repeat(2, 2).repeat(2, 3)),
    "shuffle": (
        "ShuffleChannels",
        {"group": 2},
        {},
        X.reshape(1, 2, 2, 6, 5).transpose(0, 2, 1, 3, 4).reshape(X.shape),
    ),
    "argmax": ("ArgMax", {"top_k": 1, "out_max_val": 0, "axis": 1}, {}, X.argmax(1)[:, None].astype(np.float32)),
    "argmax of all": (
        "ArgMax",
        {"top_k": 2, "out_max_val": 1},
        {},
        np.stack([np.argsort(-X.ravel())[:2], -np.sort(-X.ravel())[:2]])[None].astype(np.float32),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layer(case: str, tmp_path: Path) -> None:
    kind, data, blobs, expected = CASES[case]
    np.testing.assert_allclose(
        results(one(kind, expected.shape, data, **blobs), tmp_path), expected, rtol=1e-5, atol=1e-5
    )


Y, Z = drawn(1, 4, 6, 5, seed=10), drawn(1, 4, 6, 5, seed=11)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, X + Y + Z),
        ({"operation": "sum", "coeff": ""}, X + Y + Z),
        ({"operation": "sum", "coeff": "1.0,-2.0,0.5"}, X - 2 * Y + 0.5 * Z),
        ({"operation": "mul"}, X * Y * Z),
        ({"operation": "prod"}, X * Y * Z),
        ({"operation": "max"}, np.maximum(np.maximum(X, Y), Z)),
    ],
)
def test_eltwise(data: Data, expected: Array, tmp_path: Path) -> None:
    made = Ir()
    feeds = [made.input(*X.shape, name=name) for name in "xyz"]
    made.add("Eltwise", "out", feeds, X.shape, data=data)
    np.testing.assert_allclose(results(made, tmp_path, x=X, y=Y, z=Z), expected, atol=1e-5)


def test_concat_split_and_slice(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*X.shape)
    layer, port = made.add("Slice", "cut", [x], (1, 1, 6, 5), (1, 3, 6, 5), data={"axis": 1})
    made.add("Concat", "y", [(layer, port + 1), (layer, port)], X.shape, data={"axis": 1})
    np.testing.assert_array_equal(results(made, tmp_path), np.concatenate([X[:, 1:], X[:, :1]], 1))
    made = Ir()
    x = made.input(*X.shape)
    layer, port = made.add("Split", "cut", [x], (1, 2, 6, 5), (1, 2, 6, 5), data={"axis": 1, "num_split": 2})
    made.add("Eltwise", "y", [(layer, port), (layer, port + 1)], (1, 2, 6, 5), data={"operation": "sub"})
    np.testing.assert_array_equal(results(made, tmp_path), X[:, :2] - X[:, 2:])


def test_shapes_from_a_second_input(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*X.shape)
    flat = made.add("Reshape", "flat", [x, made.const("s", np.array([0, -1], np.int32))], (1, 120))
    more = made.add("Unsqueeze", "more", [flat, made.const("a", np.array([1], np.int32))], (1, 1, 120))
    made.add("Squeeze", "y", [more, made.const("b", np.array([0], np.int32))], (1, 120))
    np.testing.assert_array_equal(results(made, tmp_path), X.reshape(1, 120))


def test_gemm(tmp_path: Path) -> None:
    a, b, c = drawn(3, 2), drawn(4, 3, seed=1), drawn(1, 4, seed=2)
    made = Ir()
    feeds = [made.input(*v.shape, name=name) for name, v in (("a", a), ("b", b), ("c", c))]
    data = {"transpose_a": "true", "transpose_b": "1", "alpha": "0.5", "beta": "2"}
    made.add("Gemm", "y", feeds, (2, 4), data=data)
    np.testing.assert_allclose(results(made, tmp_path, a=a, b=b, c=c), 0.5 * a.T @ b.T + 2 * c, atol=1e-6)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ({"begin_mask": "1,1,1,1", "end_mask": "1,1,1,0"}, X[0:1, 1:3, 5:0:-2, 1:]),
        ({"begin_mask": "1,1,0,0", "end_mask": "1,1,0,0", "shrink_axis_mask": "0,1,0,0"}, X[:, 1, ::-2]),
    ],
)
def test_strided_slice(masks: Data, expected: Array, tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*X.shape)
    bounds = ([0, 1, 5, 1], [1, 3, 0, 2], [1, 1, -2, 1])
    feeds = [made.const(f"c{i}", np.array(numbers, np.int64)) for i, numbers in enumerate(bounds)]
    made.add("StridedSlice", "y", [x, *feeds], expected.shape, data=masks)
    np.testing.assert_array_equal(results(made, tmp_path), expected)


def test_interp_lays_corners_on_corners(tmp_path: Path) -> None:
    expected = np.empty((1, 4, 11, 9), np.float32)
    for i, y in enumerate(np.linspace(0, 5, 11)):
        for j, x in enumerate(np.linspace(0, 4, 9)):
            a, b = min(int(y), 4), min(int(x), 3)
            s, t = y - a, x - b
            rows = [(1 - t) * X[0, :, k, b] + t * X[0, :, k, b + 1] for k in (a, a + 1)]
            expected[0, :, i, j] = (1 - s) * rows[0] + s * rows[1]
    made = one("Interp", expected.shape, {"align_corners": 1, "pad_beg": 0, "pad_end": 0, "height": 11, "width": 9})
    np.testing.assert_allclose(results(made, tmp_path), expected, atol=1e-5)


def test_mean_and_scale_are_part_of_the_network(tmp_path: Path) -> None:
    made = one("ReLU", X.shape)
    means, scales = (0.1, -0.2, 0.3, 0.0), (1.0, 2.0, 0.5, 1.0)
    parts = (
        f'<channel id="{i}"><mean value="{m}"/><scale value="{s}"/></channel>'
        for i, (m, s) in enumerate(zip(means, scales, strict=True))
    )
    made.tail = f'<pre-process mean-precision="FP32">{"".join(parts)}</pre-process>'
    expected = np.maximum((X - channels(f32(*means))) / channels(f32(*scales)), 0)
    np.testing.assert_allclose(results(made, tmp_path), expected, atol=1e-6)
    assert any("mean" in note for note in legacy_ir.load(tmp_path / "net.xml").meta["notes"])


def test_mean_image(tmp_path: Path) -> None:
    made = one("ReLU", X.shape)
    planes = drawn(4, 6, 5, seed=12)
    made.bin = planes.tobytes()
    parts = (f'<channel id="{i}"><mean offset="{i * 120}" size="120"/></channel>' for i in range(4))
    made.tail = f'<pre-process reference-layer-name="x">{"".join(parts)}</pre-process>'
    np.testing.assert_allclose(results(made, tmp_path), np.maximum(X - planes, 0), atol=1e-6)


def test_names_of_inputs_layers_and_outputs_stay(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*X.shape, name="data")
    hidden = made.add("ReLU", "conv1/relu", [x], X.shape)
    made.add("Power", "a", [hidden], X.shape, data={"power": 1, "scale": 2, "shift": 0})
    made.add("ELU", "b", [hidden], X.shape)
    model = legacy_ir.load(made.write(tmp_path))
    assert [value.name for value in model.graph.inputs] == ["data"]
    assert [value.name for value in model.graph.outputs] == ["a", "b"]
    assert [node.name for node in model.graph] == ["conv1/relu", "a", "b"]
    assert model.meta["frontend"] == "OpenVINO IR v6"


def test_prior_boxes(tmp_path: Path) -> None:
    """One cell of a 2 x 2 map over a 100 x 200 image: square, mean square, two flipped ratios; then variances."""
    made = Ir()
    feature = made.input(1, 1, 2, 2, name="x")
    image = made.input(1, 3, 100, 200, name="image")
    data = {"min_size": "30", "max_size": "60", "aspect_ratio": "2", "flip": 1, "clip": 0, "step": 0, "offset": 0.5}
    made.add("PriorBox", "p", [feature, image], (1, 2, 64), data={**data, "variance": "0.1,0.1,0.2,0.2"})
    made.add("Power", "y", [(2, 2)], (1, 2, 64), data={"power": 1, "scale": 1, "shift": 0})
    found = results(made, tmp_path, x=drawn(1, 1, 2, 2), image=drawn(1, 3, 100, 200)).reshape(2, 4, 4, 4)
    middle, root = np.sqrt(30 * 60), np.sqrt(2)
    sizes = [(30, 30), (middle, middle), (30 * root, 30 / root), (30 / root, 30 * root)]
    for row, (w, h) in zip(found[0, 1], sizes, strict=True):  # the cell right of the first: centre (150, 25)
        expected = [(150 - w / 2) / 200, (25 - h / 2) / 100, (150 + w / 2) / 200, (25 + h / 2) / 100]
        np.testing.assert_allclose(row, expected, atol=1e-6)
    np.testing.assert_allclose(found[1], np.broadcast_to(f32(0.1, 0.1, 0.2, 0.2), (4, 4, 4)))


def test_clustered_prior_boxes(tmp_path: Path) -> None:
    made = Ir()
    feature, image = made.input(1, 1, 1, 2, name="x"), made.input(1, 3, 100, 200, name="image")
    data = {"width": "10,20", "height": "30,40", "clip": 0, "step": 16, "offset": 0.5, "variance": "0.1"}
    made.add("PriorBoxClustered", "p", [feature, image], (1, 2, 16), data=data)
    made.add("ReLU", "y", [(2, 2)], (1, 2, 16), data={"negative_slope": 1})
    found = results(made, tmp_path, x=drawn(1, 1, 1, 2), image=drawn(1, 3, 100, 200)).reshape(2, 2, 2, 4)
    np.testing.assert_allclose(found[0, 1, 1], f32(14 / 200, -12 / 100, 34 / 200, 28 / 100), atol=1e-6)
    np.testing.assert_allclose(found[1], 0.1, atol=1e-6)


def test_detections(tmp_path: Path) -> None:
    """Four boxes, class 0 is background: the second overlaps the better first, the fourth is too unsure."""
    made = Ir()
    offsets, scores = made.input(1, 16, name="offsets"), made.input(1, 12, name="scores")
    corners = f32(0.1, 0.1, 0.3, 0.3, 0.1, 0.1, 0.3, 0.32, 0.6, 0.6, 0.8, 0.9, 0.4, 0.4, 0.5, 0.5)
    priors = made.const("priors", np.stack([corners, np.tile(f32(0.1, 0.1, 0.2, 0.2), 4)])[None])
    data = {"num_classes": 3, "nms_threshold": 0.45, "confidence_threshold": 0.3, "keep_top_k": 5, "top_k": 3}
    data |= {"background_label_id": 0, "code_type": "caffe.PriorBoxParameter.CENTER_SIZE", "share_location": 1}
    made.add("DetectionOutput", "y", [offsets, scores, priors], (1, 1, 5, 7), data=data)
    moves = np.zeros((4, 4), np.float32)
    moves[2] = (1.0, 0.0, 0.0, np.log(2.0) / 0.2)  # right by a tenth of its width, twice as high
    confidences = f32(0.1, 0.9, 0.0, 0.2, 0.8, 0.0, 0.1, 0.0, 0.7, 0.8, 0.2, 0.1)
    found = results(made, tmp_path, offsets=moves.reshape(1, 16), scores=confidences[None])[0, 0]
    np.testing.assert_allclose(found[0], f32(0, 1, 0.9, 0.1, 0.1, 0.3, 0.3), atol=1e-6)
    np.testing.assert_allclose(found[1], f32(0, 2, 0.7, 0.62, 0.45, 0.82, 1.05), atol=1e-6)
    assert (found[2:, 0] == -1).all()


def test_detections_from_joined_prior_boxes(tmp_path: Path) -> None:
    """A cell of 100 x 100 pixels and one of 50 x 50 beside it, a box each; the second is moved by its width."""
    made = Ir()
    image, maps = made.input(1, 3, 100, 100, name="image"), [made.input(1, 1, 1, n, name=f"x{n}") for n in (1, 2)]
    offsets, scores = made.input(1, 12, name="offsets"), made.input(1, 6, name="scores")
    boxes = {"flip": 0, "clip": 0, "step": 0, "offset": 0.5, "variance": "0.1"}
    parts = [
        made.add("PriorBox", f"p{n}", [source, image], (1, 2, 4 * n), data={**boxes, "min_size": 40 / n})
        for n, source in enumerate(maps, 1)
    ]
    priors = made.add("Concat", "joined", parts, (1, 2, 12), data={"axis": 2})
    data = {
        "num_classes": 2,
        "nms_threshold": 0.5,
        "confidence_threshold": 0.3,
        "keep_top_k": 3,
        "code_type": "CORNER_SIZE",
    }
    made.add("DetectionOutput", "y", [offsets, scores, priors], (1, 1, 3, 7), data=data)
    assert "Concat" not in {
        node.op_type for node in legacy_ir.load(made.write(tmp_path)).graph if node.name == "joined"
    }
    given = f32(*[0] * 8, 10, 0, 10, 0)[None], f32(0.5, 0.5, 0.9, 0.1, 0.2, 0.8)[None]
    unused = {"image": drawn(1, 3, 100, 100), "x1": drawn(1, 1, 1, 1), "x2": drawn(1, 1, 1, 2)}
    found = results(made, tmp_path, offsets=given[0], scores=given[1], **unused)[0, 0]
    np.testing.assert_allclose(found[0], f32(0, 1, 0.8, 0.85, 0.4, 1.05, 0.6), atol=1e-6)
    np.testing.assert_allclose(found[1], f32(0, 1, 0.5, 0.3, 0.3, 0.7, 0.7), atol=1e-6)
    assert (found[2:, 0] == -1).all()


@pytest.mark.parametrize(
    ("known", "code", "words"),
    [(False, "CORNER", "its input 2 is not constant"), (True, "ROTATED", "boxes coded as ROTATED")],
)
def test_detections_that_cannot_be_built(known: bool, code: str, words: str, tmp_path: Path) -> None:
    made = Ir()
    inputs = [made.input(1, 4, name="offsets"), made.input(1, 2, name="scores")]
    inputs.append(
        made.const("priors", np.zeros((1, 2, 4), np.float32)) if known else made.input(1, 2, 4, name="priors")
    )
    data = {"num_classes": 2, "nms_threshold": 0.5, "code_type": code}
    made.add("DetectionOutput", "y", inputs, (1, 1, 3, 7), data=data)
    with pytest.raises(ModelError, match=words):
        legacy_ir.load(made.write(tmp_path))


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("RegionYolo", {"classes": 80}, "knows no layer of type RegionYolo"),
        ("Activation", {"type": "not"}, "activation 'not'"),
        ("Convolution", {"kernel": "3,3"}, "attribute output is missing"),
        ("Convolution", {"kernel": "3,3", "output": 3}, "it has no weights"),
        (
            "Pooling",
            {"kernel": "3,3", "strides": "2,2", "rounding_type": "floor"},
            "its attributes and inputs give [1, 4, 2, 2]",
        ),
        ("Pooling", {"kernel": "3"}, "attribute kernel is [3]"),
        ("Clamp", {"min": "low", "max": 1}, "attribute min is 'low', not numbers"),
        ("Power", {"power": "nan", "scale": 1, "shift": 0}, "infinities"),
        ("Permute", {"order": "0,1,2,2"}, "order"),
        ("Crop", {"axis": "2", "offset": "5"}, "it cuts"),
        ("Tile", {"axis": 4, "tiles": 2}, "axis 4 is no axis of 4"),
        ("Norm", {"alpha": 1, "beta": 1, "local-size": 2}, "no centre"),
    ],
)
def test_what_cannot_be_built_names_the_layer(kind: str, data: Data, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        legacy_ir.load(one(kind, X.shape, data).write(tmp_path))
    assert words in str(caught.value)
    assert f"layer y ({kind}, line " in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
