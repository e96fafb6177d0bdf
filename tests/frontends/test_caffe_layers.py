"""Each layer against OpenCV's importer on the same files, or against NumPy where OpenCV lacks or breaks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from caffe_files import by_opencv, converted, deviation, write_weights

from models import Array, Arrays

RNG = np.random.default_rng(3)
SHAPE = (1, 6, 9, 11)


def net(*layers: str, shape: tuple[int, ...] = SHAPE, more: dict[str, tuple[int, ...]] | None = None) -> str:
    """A prototxt with the inputs ``x`` (and more); layers are the fields between the braces."""
    inputs = {"x": shape} | (more or {})
    heads = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in sizes)} }} }} }}"
        for name, sizes in inputs.items()
    ]
    return "\n".join([*heads, *(f"layer {{ {layer} }}" for layer in layers)])


def one(kind: str, fields: str = "", bottoms: tuple[str, ...] = ("x",), top: str = "y") -> str:
    return f'name: "op" type: "{kind}" {" ".join(f"bottom: {b!r}" for b in bottoms)} top: "{top}" {fields}'


def weights(*shapes: tuple[int, ...]) -> list[Array]:
    return [RNG.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


def files(folder: Path, text: str, blobs: dict[str, list[Array]] | None = None) -> tuple[Path, Path]:
    prototxt = folder / "net.prototxt"
    prototxt.write_text(text)
    blobs = blobs or {"none": [np.zeros(1, np.float32)]}
    return prototxt, write_weights(folder / "net.caffemodel", blobs)


def numbers(shape: tuple[int, ...] = SHAPE, positive: bool = False) -> Array:
    drawn = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    return np.abs(drawn) + np.float32(0.1) if positive else drawn


CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 "
BATCH_NORM = [np.float32([1, -2, 3, 0.5, 0, 2]), np.float32([1, 4, 2, 9, 0.5, 3]), np.float32([2.5])]

# name: (type, fields, blobs of the layer)
AGAINST_OPENCV: dict[str, tuple[str, str, list[Array]]] = {
    "convolution": ("Convolution", CONVOLUTION + "pad: 1 stride: 2 }", weights((4, 6, 3, 3), (4,))),
    "no bias, dilated": (
        "Convolution",
        CONVOLUTION + "pad: 2 dilation: 2 bias_term: false }",
        weights((4, 6, 3, 3)),
    ),
    "grouped, two axes apart": (
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2 "
        "group: 2 }",
        weights((4, 3, 3, 1), (4,)),
    ),
    "deconvolution": (
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 }",
        weights((6, 4, 4, 4), (4,)),
    ),
    "grouped deconvolution": (
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 6 bias_term: false }",
        weights((6, 1, 4, 4)),
    ),
    "inner product": ("InnerProduct", "inner_product_param { num_output: 5 }", weights((5, 594), (5,))),
    "inner product of axis 2": (
        "InnerProduct",
        "inner_product_param { num_output: 5 axis: 2 }",
        weights((5, 99), (5,)),
    ),
    "batch norm": ("BatchNorm", "batch_norm_param { eps: 0.01 use_global_stats: true }", BATCH_NORM),
    "scale": ("Scale", "scale_param { bias_term: true }", weights((6,), (6,))),
    "scale without bias": ("Scale", "", weights((6,))),
    "lrn": ("LRN", "lrn_param { local_size: 3 alpha: 0.9 beta: 0.6 }", []),
    "lrn within channels": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 0.9 beta: 0.6 norm_region: WITHIN_CHANNEL }",
        [],
    ),
    "relu": ("ReLU", "", []),
    "leaky relu": ("ReLU", "relu_param { negative_slope: 0.2 }", []),
    "relu6": ("ReLU6", "", []),
    "prelu": ("PReLU", "", [np.float32([0.1, 0.2, 0.3, -0.4, 0.5, 0.6])]),
    "shared prelu": ("PReLU", "prelu_param { channel_shared: true }", [np.float32([0.3])]),
    "elu": ("ELU", "elu_param { alpha: 0.7 }", []),
    "sigmoid": ("Sigmoid", "", []),
    "tanh": ("TanH", "", []),
    "absolute": ("AbsVal", "", []),
    "bnll": ("BNLL", "", []),
    "power": ("Power", "power_param { power: 3 scale: 0.5 shift: 2 }", []),
    "power of one": ("Power", "power_param { scale: 0.5 shift: 2 }", []),
    "exp": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.1 }", []),
    "softmax": ("Softmax", "", []),
    "softmax of axis -1": ("Softmax", "softmax_param { axis: -1 }", []),
    "flatten": ("Flatten", "", []),
    "flatten the middle": ("Flatten", "flatten_param { axis: 1 end_axis: 2 }", []),
    "permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", []),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", []),
    "reshape two axes": ("Reshape", "reshape_param { axis: 1 num_axes: 2 shape { dim: -1 } }", []),
    "normalize": (
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false }",
        [np.float32([20, 10, 5, 1, 2, 3])],
    ),
    "shuffle channels": ("ShuffleChannel", "shuffle_channel_param { group: 3 }", []),
    "mvn": ("MVN", "", []),
    "global average": ("Pooling", "pooling_param { pool: AVE global_pooling: true }", []),
    "global maximum": ("Pooling", "pooling_param { pool: MAX global_pooling: true }", []),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.4 }", []),
    "upsampling by convolution": (
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 3 }",
        weights((6, 2, 3, 3), (6,)),
    ),
}


@pytest.mark.parametrize("case", AGAINST_OPENCV)
def test_a_layer_computes_what_opencv_computes(case: str, tmp_path: Path) -> None:
    kind, fields, blobs = AGAINST_OPENCV[case]
    prototxt, model = files(tmp_path, net(one(kind, fields)), {"op": blobs} if blobs else None)
    inputs = {"x": numbers()}
    ours, theirs = converted(prototxt, model, inputs), by_opencv(prototxt, model, inputs, ["y"])
    assert deviation(ours["y"], theirs["y"]) < 1e-5


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("shape", [(1, 2, 7, 8), (1, 2, 5, 14)])
@pytest.mark.parametrize(
    "window",
    [
        "kernel_size: 2 stride: 2",
        "kernel_size: 3 stride: 2",
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_size: 3 stride: 1 pad: 1",
        "kernel_size: 3 stride: 3 pad: 1",
        "kernel_size: 4 stride: 3 pad: 2",
        "kernel_size: 2 stride: 2 pad: 1",
        "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 3 pad_h: 1 pad_w: 0",
        "kernel_size: 2 stride: 2 ceil_mode: false",
        "kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR",
    ],
)
def test_pooling_has_the_sizes_and_the_divisor_of_caffe(
    pool: str, shape: tuple[int, ...], window: str, tmp_path: Path
) -> None:
    prototxt, model = files(tmp_path, net(one("Pooling", f"pooling_param {{ pool: {pool} {window} }}"), shape=shape))
    x = numbers(shape)
    ours = converted(prototxt, model, {"x": x})["y"]
    np.testing.assert_allclose(ours, pooled(x, pool, window), rtol=1e-5, atol=1e-6)
    if "mode" not in window:  # which OpenCV does not know
        assert deviation(ours, by_opencv(prototxt, model, {"x": x}, ["y"])["y"]) < 1e-5


def pooled(x: Array, pool: str, window: str) -> Array:
    """By the loops of pooling_layer.cpp."""
    words = window.replace(":", "").split()
    given = dict(zip(words[::2], words[1::2], strict=True))

    def pair(name: str, short: str, default: int) -> list[int]:
        single = int(given.get(name, default))
        return [int(given.get(f"{short}_{axis}", single)) for axis in "hw"]

    (kh, kw), (sh, sw), (ph, pw) = pair("kernel_size", "kernel", 0), pair("stride", "stride", 1), pair("pad", "pad", 0)
    down = given.get("ceil_mode") == "false" or given.get("round_mode") == "FLOOR"
    rows, columns = x.shape[2:]

    def out(size: int, k: int, s: int, p: int) -> int:
        count = int((np.floor if down else np.ceil)((size + 2 * p - k) / s)) + 1
        return count - 1 if (ph or pw) and (count - 1) * s >= size + p else count

    made = np.zeros((*x.shape[:2], out(rows, kh, sh, ph), out(columns, kw, sw, pw)), np.float32)
    for i in range(made.shape[2]):
        for j in range(made.shape[3]):
            top, left = i * sh - ph, j * sw - pw
            bottom, right = min(top + kh, rows + ph), min(left + kw, columns + pw)
            area = (bottom - top) * (right - left)
            part = x[:, :, max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
            made[:, :, i, j] = part.max((2, 3)) if pool == "MAX" else part.sum((2, 3)) / area
    return made


TWO: dict[str, tuple[str, str]] = {
    "sum": ("Eltwise", ""),
    "weighted sum": ("Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }"),
    "difference": ("Eltwise", "eltwise_param { coeff: 1 coeff: -1 }"),
    "product": ("Eltwise", "eltwise_param { operation: PROD }"),
    "maximum": ("Eltwise", "eltwise_param { operation: MAX }"),
    "concat": ("Concat", ""),
    "concat of the last": ("Concat", "concat_param { axis: -1 }"),
    "old concat": ("Concat", "concat_param { concat_dim: 2 }"),
}


@pytest.mark.parametrize("case", TWO)
def test_layers_of_two_blobs(case: str, tmp_path: Path) -> None:
    kind, fields = TWO[case]
    prototxt, model = files(tmp_path, net(one(kind, fields, ("x", "z")), more={"z": SHAPE}))
    x, z = numbers(), RNG.normal(size=SHAPE).astype(np.float32)
    expected = {
        "sum": x + z,
        "weighted sum": 0.5 * x - 2 * z,
        "difference": x - z,
        "product": x * z,
        "maximum": np.maximum(x, z),
        "concat": np.concatenate([x, z], 1),
        "concat of the last": np.concatenate([x, z], 3),
        "old concat": np.concatenate([x, z], 2),
    }[case]
    np.testing.assert_allclose(converted(prototxt, model, {"x": x, "z": z})["y"], expected, rtol=1e-6, atol=1e-6)


def argmax(x: Array) -> Array:
    order = np.argsort(-x.reshape(1, -1), kind="stable")[:, :3]
    return np.stack([order, np.take_along_axis(x.reshape(1, -1), order, 1)], 1).astype(np.float32)


def bilinear(x: Array, height: int, width: int) -> Array:
    """Interp with aligned corners."""
    for axis, size in ((2, height), (3, width)):
        places = np.linspace(0, x.shape[axis] - 1, size)
        low = np.minimum(places.astype(int), x.shape[axis] - 2)
        share = (places - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, low + 1, axis) * share
    return x


x0 = numbers()
BY_HAND: dict[str, tuple[str, str, Array]] = {
    "log": ("Log", "log_param { base: 10 scale: 2 shift: 0.5 }", np.log10(2 * np.abs(x0) + 0.2 + 0.5)),
    "exp": ("Exp", "", np.exp(np.abs(x0) + 0.1)),
    "inverse": ("Power", "power_param { power: -1 }", 1 / (np.abs(x0) + 0.1)),
    "threshold": ("Threshold", "threshold_param { threshold: 0.5 }", (np.abs(x0) + 0.1 > 0.5).astype(np.float32)),
    "clip": ("Clip", "clip_param { min: 0.3 max: 0.9 }", np.clip(np.abs(x0) + 0.1, 0.3, 0.9)),
    "swish": ("Swish", "", (np.abs(x0) + 0.1) / (1 + np.exp(-np.abs(x0) - 0.1))),
    "unscaled dropout": ("Dropout", "dropout_param { scale_train: false }", 0.5 * (np.abs(x0) + 0.1)),
    "argmax": ("ArgMax", "argmax_param { top_k: 3 out_max_val: true }", argmax(np.abs(x0) + np.float32(0.1))),
    "argmax of an axis": (
        "ArgMax",
        "argmax_param { axis: 1 }",
        x0.__abs__().argmax(1, keepdims=True).astype(np.float32),
    ),
    "sum": ("Reduction", "reduction_param { axis: 2 coeff: 3 }", 3 * (np.abs(x0) + 0.1).sum((2, 3))),
    "absolute sum": ("Reduction", "reduction_param { operation: ASUM axis: 1 }", (np.abs(x0) + 0.1).sum((1, 2, 3))),
    "squares": ("Reduction", "reduction_param { operation: 3 axis: 3 }", ((np.abs(x0) + 0.1) ** 2).sum(3)),
    "mean": ("Reduction", "reduction_param { operation: MEAN }", np.mean(np.abs(x0) + 0.1)),
    "nearest": ("Upsample", "upsample_param { scale: 3 }", (np.abs(x0) + 0.1).repeat(3, 2).repeat(3, 3)),
    "interp": ("Interp", "interp_param { height: 20 width: 7 }", bilinear(np.abs(x0) + 0.1, 20, 7)),
    "interp by zoom": ("Interp", "interp_param { zoom_factor: 3 }", bilinear(np.abs(x0) + 0.1, 25, 31)),
    "interp shrinks and crops": (
        "Interp",
        "interp_param { shrink_factor: 2 pad_beg: -1 pad_end: -2 }",
        bilinear(np.abs(x0)[:, :, 1:-2, 1:-2] + 0.1, 3, 4),
    ),
    "tile": ("Tile", "tile_param { axis: 2 tiles: 3 }", np.tile(np.abs(x0) + 0.1, (1, 1, 3, 1))),
    "normalize a sample": (
        "Normalize",
        "norm_param { scale_filler { value: 20 } }",
        1.5 * (np.abs(x0) + 0.1) / np.sqrt(((np.abs(x0) + 0.1) ** 2).sum()),
    ),
    "batch statistics": (
        "BatchNorm",
        "batch_norm_param { use_global_stats: false }",
        (lambda a: (a - a.mean((2, 3), keepdims=True)) / np.sqrt(a.var((2, 3), keepdims=True) + 1e-5))(
            np.abs(x0) + 0.1
        ),
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_a_layer_computes_its_equation(case: str, tmp_path: Path) -> None:
    kind, fields, expected = BY_HAND[case]
    prototxt, model = files(tmp_path, net(one(kind, fields)), {"op": [np.float32([1.5])]})
    got = converted(prototxt, model, {"x": numbers(positive=True)})["y"]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def test_slice_split_silence_and_crop(tmp_path: Path) -> None:
    text = net(
        'name: "cut" type: "Slice" bottom: "x" top: "a" top: "b" top: "c" slice_param { slice_point: [1, 4] }',
        'name: "halves" type: "Slice" bottom: "c" top: "c1" top: "c2"',
        'name: "twice" type: "Split" bottom: "b" top: "b1" top: "b2"',
        'name: "crop" type: "Crop" bottom: "b1" bottom: "small" top: "y" crop_param { axis: 2 offset: 1 offset: 3 }',
        'name: "quiet" type: "Silence" bottom: "a" bottom: "c2"',
        more={"small": (1, 9, 4, 5)},
    )
    x, small = numbers(), np.zeros((1, 9, 4, 5), np.float32)
    got = converted(*files(tmp_path, text), {"x": x, "small": small})
    assert list(got) == ["c1", "b2", "y"]
    np.testing.assert_array_equal(got["c1"], x[:, 4:5])
    np.testing.assert_array_equal(got["b2"], x[:, 1:4])
    np.testing.assert_array_equal(got["y"], x[:, 1:4, 1:5, 3:8])


def test_scale_and_bias_by_a_second_blob_and_along_several_axes(tmp_path: Path) -> None:
    text = net(
        'name: "gate" type: "Scale" bottom: "x" bottom: "g" top: "gated" scale_param { axis: 0 }',
        'name: "shift" type: "Bias" bottom: "gated" top: "shifted" bias_param { axis: 1 num_axes: 2 }',
        'name: "plane" type: "Scale" bottom: "shifted" top: "y" scale_param { axis: 2 num_axes: -1 }',
        more={"g": (1, 6)},
    )
    shift, plane = weights((6, 9), (9, 11))
    x, g = numbers(), numbers((1, 6))
    got = converted(*files(tmp_path, text, {"shift": [shift], "plane": [plane]}), {"x": x, "g": g})["y"]
    np.testing.assert_allclose(got, (x * g[:, :, None, None] + shift[:, :, None]) * plane, rtol=1e-5, atol=1e-6)


def test_a_scale_joins_the_batch_norm_it_alone_reads(tmp_path: Path) -> None:
    from fewbits.frontends import caffe

    mean, variance, factor = BATCH_NORM
    gamma, beta = weights((6,), (6,))
    layers = [
        'name: "bn" type: "BatchNorm" bottom: "x" top: "x2" batch_norm_param { use_global_stats: true }',
        'name: "scale" type: "Scale" bottom: "x2" top: "x2" scale_param { bias_term: true }',
        'name: "relu" type: "ReLU" bottom: "x2" top: "x2"',
    ]
    x = numbers()
    normal = (x - (mean / factor).reshape(1, -1, 1, 1)) / np.sqrt((variance / factor).reshape(1, -1, 1, 1) + 1e-5)
    scaled = normal * gamma.reshape(1, -1, 1, 1) + beta.reshape(1, -1, 1, 1)
    blobs = {"bn": BATCH_NORM, "scale": [gamma, beta]}

    prototxt, model = files(tmp_path, net(*layers), blobs)
    made = caffe.load(prototxt, weights=model, random_weights=False, seed=0)
    assert [(node.name, node.op_type) for node in made.graph] == [("bn", "BatchNormalization"), ("relu", "Relu")]
    np.testing.assert_allclose(converted(prototxt, model, {"x": x})["x2"], np.maximum(scaled, 0), rtol=1e-5, atol=1e-5)

    twice = [layers[0], layers[1].replace('top: "x2"', 'top: "y"'), 'name: "a" type: "AbsVal" bottom: "x2" top: "z"']
    got: Arrays = converted(*files(tmp_path, net(*twice), blobs), {"x": x})
    np.testing.assert_allclose(got["y"], scaled, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got["z"], np.abs(normal), rtol=1e-5, atol=1e-5)


def test_depthwise_convolutions_have_a_group_a_channel(tmp_path: Path) -> None:
    kernel, bias = weights((6, 1, 3, 3), (6,))
    x = numbers()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    expected = np.einsum("nchwij,cij->nchw", windows, kernel[:, 0]) + bias.reshape(1, -1, 1, 1)
    fields = "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }"
    for kind in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        prototxt, model = files(tmp_path, net(one(kind, fields)), {"op": [kernel, bias]})
        np.testing.assert_allclose(converted(prototxt, model, {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


def test_transposed_inner_product_and_shared_weights(tmp_path: Path) -> None:
    first = (
        'name: "a" type: "InnerProduct" bottom: "x" top: "h" param { name: "w" } '
        "inner_product_param { num_output: 6 bias_term: false transpose: true }"
    )
    text = net(first, first.replace('"a"', '"b"').replace('bottom: "x" top: "h"', 'bottom: "h" top: "y"'), shape=(1, 6))
    [kernel] = weights((6, 6))
    x = numbers((1, 6))
    got = converted(*files(tmp_path, text, {"a": [kernel]}), {"x": x})["y"]
    np.testing.assert_allclose(got, x @ kernel @ kernel, rtol=1e-5, atol=1e-5)
