"""All forms of prototxt and caffemodel are read, phases decided, and everything else refused in one line."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from caffe_files import by_opencv, converted, deviation, drawn, messages, write_weights

from fewbits.errors import ModelError
from fewbits.frontends import caffe
from fewbits.frontends.caffe import caffemodel, text
from models import oracle

CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""
NET = 'name: "small"\ninput: "data"\ninput_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n' + CONV
RNG = np.random.default_rng(4)
BLOBS = {"conv": [RNG.normal(size=(4, 3, 3, 3)).astype(np.float32), RNG.normal(size=4).astype(np.float32)]}
X = {"data": RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)}


def written(folder: Path, content: str = NET) -> Path:
    path = folder / "net.prototxt"
    path.write_text(content)
    return path


def load(path: Path, **options: object) -> ir.Model:
    given = {"weights": None, "random_weights": True, "seed": 0} | options
    return caffe.load(path, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_of_every_form_are_the_same(
    old: bool, packed: bool, double: bool, legacy: bool, tmp_path: Path
) -> None:
    path = tmp_path / "net.caffemodel"
    found = caffemodel.read(write_weights(path, BLOBS, old=old, packed=packed, double=double, legacy=legacy))
    assert list(found) == ["conv"]
    for ours, theirs in zip(found["conv"], BLOBS["conv"], strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
    prototxt = written(tmp_path)
    if double:  # OpenCV reads none
        return
    assert deviation(converted(prototxt, None, X)["conv"], by_opencv(prototxt, path, X, ["conv"])["conv"]) < 1e-5


def test_half_floats_of_nvidia_s_fork(tmp_path: Path) -> None:
    made = messages()["NetParameter"]()
    layer = made.layer.add(name="conv")
    for array in BLOBS["conv"]:
        blob = layer.blobs.add(raw_data_type=2, raw_data=array.astype("<f2").tobytes())
        blob.shape.dim.extend(array.shape)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(made.SerializeToString())
    for ours, theirs in zip(caffemodel.read(path)["conv"], BLOBS["conv"], strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32))
    prototxt = written(tmp_path)
    assert deviation(converted(prototxt, None, X)["conv"], by_opencv(prototxt, path, X, ["conv"])["conv"]) < 1e-5


def test_packed_weights_are_not_copied(tmp_path: Path) -> None:
    found = caffemodel.read(write_weights(tmp_path / "net.caffemodel", BLOBS))
    assert not any(blob.flags.owndata or blob.flags.writeable for blob in found["conv"])


@pytest.mark.parametrize(
    "head",
    [
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }',
        'input: "data" input_shape: < dim: [1, 3, 8, 8] >; # a comment { "',
        "layer { name: 'in' type: 'In' 'put' top: 'data' input_param { shape { dim: 1, dim: 3, dim: 0x8, dim: 8 } } }",
    ],
)
def test_inputs_of_every_form(head: str, tmp_path: Path) -> None:
    model = load(written(tmp_path, head + CONV))
    [source], [output] = model.graph.inputs, model.graph.outputs
    assert (source.name, output.name) == ("data", "conv")
    assert source.shape is not None
    assert list(source.shape) == [1, 3, 8, 8]
    assert [node.name for node in model.graph] == ["conv", "relu"]


def test_the_old_form_of_layers(tmp_path: Path) -> None:
    old = """
    layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
             convolution_param { num_output: 4 kernel_size: 3 pad: 1 } include: { phase: TEST } }
    layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
    layers { name: "loss" type: SOFTMAX_LOSS bottom: "conv" bottom: "label" top: "loss" include { phase: TRAIN } }
    layers { name: "pool" type: POOLING bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 8 } }
    layers { name: "prob" type: SOFTMAX bottom: "pool" top: "prob" }"""
    path = written(tmp_path, NET.split("layer {")[0] + old)
    weights = write_weights(tmp_path / "net.caffemodel", BLOBS, old=True)
    ours = converted(path, None, X)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "SOFTMAX_LOSS" not in line))
    theirs = by_opencv(path, weights, X, ["prob"])  # it stumbles over losses that need labels
    assert deviation(ours["prob"], theirs["prob"]) < 1e-5


TRAIN_VAL = (
    """
layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { crop_size: 6 mirror: true } data_param { source: "a" batch_size: 32 backend: LMDB } }
layer { name: "val" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 8 mean_value: 104 scale: 0.017 } data_param { source: "b" batch_size: 8 } }
"""
    + CONV
    + """
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" exclude { phase: TEST } }
layer { name: "shape" type: "Flatten" bottom: "label" top: "flat" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "flat" top: "accuracy" accuracy_param { top_k: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "flat" top: "loss" loss_weight: 1 }
layer { name: "extra" type: "Softmax" bottom: "fc" top: "extra" include { stage: "study" } }
"""
)


def test_a_training_description_is_deployed(tmp_path: Path) -> None:
    model = load(written(tmp_path, TRAIN_VAL))
    [source], [output] = model.graph.inputs, model.graph.outputs
    assert source.shape is not None
    assert list(source.shape) == [1, 3, 8, 8]
    assert output.name == "loss"
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Flatten", "Gemm", "Softmax"]
    [note] = [note for note in model.meta["notes"] if "'val'" in note]
    assert "1x3x8x8" in note
    assert "mean_value 104; scale 0.017" in note
    assert oracle(model, X)["loss"].sum() == pytest.approx(1, abs=1e-5)


def test_a_data_layer_without_a_size_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"line 4, layer 'val' \(Data\): the size .* Input layer"):
        load(written(tmp_path, TRAIN_VAL.replace("crop_size: 8", "")))


def test_random_weights_follow_fillers_and_seed(tmp_path: Path) -> None:
    filler = 'weight_filler { type: "gaussian" std: 0.25 mean: 3 } bias_filler { type: "constant" value: 7 }'
    path = written(tmp_path, NET.replace("num_output: 4", f"num_output: 400 {filler}"))
    first, second = drawn(path)["conv"]
    assert first.mean() == pytest.approx(3, abs=0.02)
    assert first.std() == pytest.approx(0.25, abs=0.01)
    assert (second == 7).all()
    np.testing.assert_array_equal(drawn(path)["conv"][0], first)
    assert (drawn(path, seed=1)["conv"][0] != first).any()


@pytest.mark.parametrize(
    ("filler", "low", "high", "std"),
    [
        ('type: "xavier"', -((1 / 9) ** 0.5), (1 / 9) ** 0.5, (1 / 27) ** 0.5),
        ('type: "xavier" variance_norm: FAN_OUT', -((3 / 3600) ** 0.5), (3 / 3600) ** 0.5, (1 / 3600) ** 0.5),
        ('type: "msra"', -2, 2, (2 / 27) ** 0.5),
        ('type: "uniform" min: -1 max: 3', -1, 3, 4 / 12**0.5),
        ('type: "positive_unitball"', 0, 0.2, 1 / 27 / 3**0.5),
        ('type: "constant" value: 2', 2, 2, 0),
        ('type: "gaussian"', -9, 9, 1),
    ],
)
def test_fillers_have_the_spread_of_their_rule(
    filler: str, low: float, high: float, std: float, tmp_path: Path
) -> None:
    text = NET.replace("num_output: 4", f"num_output: 400 weight_filler {{ {filler} }}")
    [kernel, bias] = drawn(written(tmp_path, text))["conv"]
    assert kernel.shape == (400, 3, 3, 3)
    assert low - 1e-6 <= kernel.min()
    assert kernel.max() <= high + 1e-6
    assert kernel.std() == pytest.approx(std, rel=0.05, abs=1e-6)
    assert not bias.any()


def test_a_bilinear_filler_interpolates(tmp_path: Path) -> None:
    layer = """layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { num_output: 3
        kernel_size: 4 stride: 2 pad: 1 group: 3 bias_term: false weight_filler { type: "bilinear" } } }"""
    [kernel] = drawn(written(tmp_path, NET.split("layer {")[0] + layer))["up"]
    np.testing.assert_allclose(kernel[1, 0], np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16, atol=1e-7)


def test_without_fillers_signals_keep_their_size_however_deep(tmp_path: Path) -> None:
    block = """
    layer { name: "c%d" type: "Convolution" bottom: "%s" top: "c%d"
            convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
    layer { name: "r%d" type: "ReLU" bottom: "c%d" top: "c%d" }
    layer { name: "d%d" type: "Convolution" bottom: "c%d" top: "d%d"
            convolution_param { num_output: 16 kernel_size: 3 pad: 1 } }
    layer { name: "s%d" type: "Eltwise" bottom: "d%d" bottom: "%s" top: "s%d" }
    layer { name: "t%d" type: "ReLU" bottom: "s%d" top: "s%d" }"""
    body, before = "", "data"
    for i in range(20):
        body += block % (i, before, i, i, i, i, i, i, i, i, i, before, i, i, i, i)
        before = f"s{i}"
    head = 'input: "data" input_shape { dim: 1 dim: 16 dim: 8 dim: 8 }'
    got = oracle(load(written(tmp_path, head + body)), {"data": RNG.normal(size=(1, 16, 8, 8)).astype(np.float32)})
    assert 1e-2 < np.square(got["s19"]).mean() < 1e3  # twenty sums of mean square 1; the naive rule gives 1e6


def test_a_batch_of_ten_is_left_free_where_samples_do_not_meet(tmp_path: Path) -> None:
    ten = NET.replace("input_dim: 1 ", "input_dim: 10 ")
    model = load(written(tmp_path, ten))
    assert str(model.graph.inputs[0].shape) == "[N,3,8,8]"
    assert str(model.graph.outputs[0].shape) == "[N,4,8,8]"
    assert "batch of 10 is left free" in model.meta["notes"][-1]
    rows = (
        'layer { name: "rows" type: "Reshape" bottom: "conv" top: "rows" reshape_param { shape { dim: -1 dim: 8 } } }'
    )
    model = load(written(tmp_path, ten + rows))
    assert str(model.graph.inputs[0].shape) == "[1,3,8,8]"
    assert "became 1: layer 'rows' (Reshape)" in model.meta["notes"][-1]
    model = load(written(tmp_path, ten + rows.replace("dim: -1 dim: 8", "dim: 10 dim: 256")))
    assert str(model.graph.inputs[0].shape) == "[10,3,8,8]"
    assert "batch of 10 stays" in model.meta["notes"][-1]


def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    head = NET.split("layer {")[0]
    layers = """layer { name: "shift" type: "Power" bottom: "data" top: "data" power_param { shift: 1 } }
    layer { name: "conv1/a" type: "Convolution" bottom: "data" top: "c"
            convolution_param { num_output: 2 kernel_size: 1 } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "d" type: "Dropout" bottom: "c" top: "out" }"""
    model = load(written(tmp_path, head + layers))
    assert [node.name for node in model.graph] == ["shift", "conv1/a", "r"]
    assert [node.outputs[0].name for node in model.graph] == ["data.shift", "c.conv1/a", "out"]
    assert model.graph.inputs[0].name == "data"


def refused(path: Path, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.exit_code == 2
    return said


def test_no_weights_names_both_ways_out(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert refused(path, random_weights=False) == (
        f"{path}: no weights beside it - give --weights X.caffemodel, or --random-weights to study speed"
    )
    for name in ("a.caffemodel", "b.caffemodel"):
        write_weights(tmp_path / name, BLOBS)
    assert "no weights beside it" in refused(path, random_weights=False)  # which of the two?
    (tmp_path / "b.caffemodel").unlink()
    assert load(path, random_weights=False).meta["notes"] == []
    assert "exclude each other" in refused(path, weights=tmp_path / "a.caffemodel")


FAULTS: dict[str, tuple[str, str]] = {
    "nothing": ("", "no layers"),
    "nothing that runs": ('layer { type: "ReLU" include { phase: TRAIN } }', "no input"),
    "inputs alone": (NET.split("layer {")[0] + 'layer { type: "Silence" bottom: "data" }', "no output"),
    "a cut": (NET[:-30], "the file ends inside a message opened in line 7 - the file may be cut off"),
    "a stray brace": (NET + "}", "line 8: expected the name of a field, found '}'"),
    "no value": ("layer { name: }", "line 1: a value is missing"),
    "a strange character": ("layer { name: $x }", "line 1: unexpected character '$'"),
    "an open text": ('layer { name: "x }', "unexpected character"),
    "deep nesting": ("a {" * 100_000, "more than 16 deep"),
    "many words": ("a: 1 " * 1_000_000, "more than 500000 words"),
    "many bytes": (" " * (33 << 20), "more than 32 MiB"),
    "an unknown layer": (
        NET.replace('"ReLU"', '"Relu"'),
        "line 7, layer 'relu' (Relu): no conversion for layers of type",
    ),
    "an unknown field": (
        NET.replace("pad: 1", "padding: 1"),
        "line 6, layer 'conv' (Convolution): unknown field 'padding'",
    ),
    "an unknown message": (
        NET.replace('type: "ReLU"', 'type: "ReLU" hard_param { a: 1 }'),
        "unknown field 'hard_param'",
    ),
    "a bottom nobody makes": (NET.replace('bottom: "data"', 'bottom: "date"'), "no layer makes its bottom 'date'"),
    "a circle": (
        NET.replace('bottom: "data"', 'bottom: "a"') + 'layer { name: "a" type: "ReLU" bottom: "conv" top: "a" }',
        "its bottom 'a' is made by layer 'a' only in line 8",
    ),
    "a blob made twice": (NET + 'layer { name: "z" type: "AbsVal" bottom: "data" top: "conv" }', "made before"),
    "a negative size": (NET.replace("input_dim: 3", "input_dim: -3"), "input_dim is '-3', not a whole number (from 1"),
    "a zero size": (NET.replace("input_dim: 3", "input_dim: 0"), "input_dim is '0'"),
    "three sizes": (NET.replace("input_dim: 3", ""), "3 input_dim for 1 inputs"),
    "an absurd input": (NET.replace("input_dim: 8", "input_dim: 99999999"), "holds more than"),
    "absurd outputs": (NET.replace("num_output: 4", "num_output: 1000000000000"), "num_output is '1000000000000'"),
    "absurd weights": (NET.replace("num_output: 4", "num_output: 2000000000"), "more than 268435456 parameters"),
    "no outputs": (NET.replace("num_output: 4", ""), "num_output is missing"),
    "a kernel too large": (NET.replace("kernel_size: 3", "kernel_size: 11"), "reaches over 11 does not fit 8"),
    "groups that do not divide": (NET.replace("pad: 1", "group: 2"), "2 groups do not divide 3 channels"),
    "a word for a number": (NET.replace("pad: 1", "pad: one"), "pad is 'one', not a whole number"),
    "a message for a number": (NET.replace("pad: 1", "pad { a: 1 }"), "pad holds a message"),
    "a number for a message": (
        NET.replace("convolution_param {", "convolution_param: 3 relu_param {"),
        "not a message",
    ),
    "an unknown filler": (NET.replace("pad: 1", 'weight_filler { type: "orthogonal" }'), "unknown filler 'orthogonal'"),
    "both forms": (NET + "layers { type: RELU }", "'layer' and 'layers' in one file"),
    "the oldest form": ("layers { layer { type: 'conv' } }", "oldest form"),
    "too many bottoms": (NET.replace('type: "ReLU"', 'type: "ReLU" bottom: "data"'), "2 bottoms, it takes 1"),
    "too many tops": (NET.replace('type: "ReLU"', 'type: "ReLU" top: "b"'), "2 tops, of which it makes 1"),
    "an empty shape": ('input: "data" input_shape {}' + CONV, "a shape of 0 dimensions"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_description_is_refused_with_its_place(fault: str, tmp_path: Path) -> None:
    content, says = FAULTS[fault]
    path = written(tmp_path, content)
    started = time.monotonic()
    said = refused(path)
    assert says in said
    assert said.startswith(str(path))
    assert time.monotonic() - started < 60  # bounded, whatever the size


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ('type: "Pooling" pooling_param { kernel_size: 9 }', "a window of 9 does not fit 8"),
        ('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', "a window of 2 does not fit 8 with 2 of padding"),
        ('type: "Pooling" pooling_param { kernel_size: 1 stride: 5 }', "starts beyond the input"),
        ('type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }', "stochastic"),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: 7 dim: -1 } }', "cannot be given the shape"),
        ('type: "Reshape" reshape_param { shape { dim: -1 dim: -1 } }', "one -1 at most"),
        ('type: "Reshape" reshape_param { shape { dim: 1000000 dim: 100000 } }', "cannot be given the shape"),
        ('type: "Permute" permute_param { order: 0 order: 0 }', "names an axis twice"),
        ('type: "Slice" slice_param { slice_point: 5 }', "cannot be cut"),
        ('type: "LRN" lrn_param { local_size: 4 }', "even"),
        ('type: "Softmax" softmax_param { axis: 4 }', "axis is '4', not a whole number (from -4 to 3)"),
        ('type: "Eltwise" bottom: "x2" eltwise_param { coeff: 1 }', "1 coefficients for SUM of 2"),
        ('type: "Eltwise" bottom: "data"', "differ in shape"),
        ('type: "Concat" bottom: "data" concat_param { axis: 2 }', "do not fit it"),
        ('type: "Upsample" upsample_param { scale: 100000 }', "its result has the shape"),
        ('type: "Tile" tile_param { tiles: 2000000000 }', "tiles is '2000000000'"),
        ('type: "Reduction" reduction_param { operation: MEDIAN }', "operation is 'MEDIAN', not one of"),
        ('type: "ELU" elu_param { alpha: nan }', "alpha is 'nan', not a number"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_with_its_line(layer: str, says: str, tmp_path: Path) -> None:
    split = 'layer { name: "s" type: "Split" bottom: "conv" top: "x1" top: "x2" }\n'
    said = refused(written(tmp_path, f'{NET}{split}layer {{ name: "bad" bottom: "x1" top: "y" {layer} }}'))
    assert says in said
    assert "line 9, layer 'bad'" in said


def test_a_caffemodel_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    prototxt, path = written(tmp_path), tmp_path / "w.caffemodel"
    whole = write_weights(path, BLOBS).read_bytes()
    for length in [*range(40), *range(40, len(whole) - 1, 13)]:
        path.write_bytes(whole[:length])
        refused(prototxt, weights=path, random_weights=False)


def test_flipped_bits_never_end_in_a_traceback(tmp_path: Path) -> None:
    prototxt, path = written(tmp_path), tmp_path / "w.caffemodel"
    whole = bytearray(write_weights(path, BLOBS, packed=False).read_bytes())
    rng, stood = np.random.default_rng(5), 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            load(prototxt, weights=path, random_weights=False)
            stood += 1
        except ModelError as error:
            assert "\n" not in str(error)
    assert 0 < stood < 300


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "cut off or no .caffemodel"),
        (b"\x0a\x05small", "no weights in it"),
        (b"\xa2\x06\xff\xff\xff\xff\x7f", "a field of"),
        (b"\xff" * 64, "a number that does not end"),
    ],
)
def test_what_is_no_caffemodel_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(content)
    said = refused(written(tmp_path), weights=path, random_weights=False)
    assert says in said
    assert said.startswith(str(path))


@pytest.mark.parametrize(
    ("blobs", "says"),
    [
        (
            {"other": BLOBS["conv"]},
            "no weights for layer 'conv' (Convolution), which needs blob 1 of shape [4, 3, 3, 3]",
        ),
        ({"conv": BLOBS["conv"][:1]}, "only 1 blobs for layer 'conv'"),
        ({"conv": [BLOBS["conv"][0][:2], BLOBS["conv"][1]]}, "blob 1 of layer 'conv' has shape [2, 3, 3, 3]"),
    ],
)
def test_weights_of_another_network_are_refused(blobs: dict[str, list[np.ndarray]], says: str, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.caffemodel", blobs)
    assert says in refused(written(tmp_path), weights=path, random_weights=False)


def test_a_blob_whose_shape_and_numbers_disagree_is_refused(tmp_path: Path) -> None:
    made = messages()["NetParameter"]()
    blob = made.layer.add(name="conv").blobs.add()
    blob.shape.dim.extend([4, 1 << 40])
    blob.data.extend([1.0] * 4)
    path = tmp_path / "w.caffemodel"
    path.write_bytes(made.SerializeToString())
    assert "layer 'conv': a blob of shape [4, 1099511627776] holds 4 numbers" in refused(
        written(tmp_path), weights=path, random_weights=False
    )


def test_a_binary_file_for_a_description(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(write_weights(tmp_path / "w.caffemodel", BLOBS).read_bytes())
    assert "not a text file" in refused(path)
    assert "no such file" in refused(tmp_path / "missing.prototxt")


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    message = text.read(written(tmp_path))
    assert [field.line for field in message.fields["layer"]] == [5, 7]
