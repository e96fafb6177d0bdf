"""The proof of a conversion: it finds planted faults, feeds what fits, says what was truth and whose fault it is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import fewbits
from fewbits.engines import ENGINES, Options
from fewbits.errors import FewbitsError, InputError
from fewbits.graph.vocabulary import Use
from fewbits.measurement.inputs import ModelInput
from fewbits.measurement.sizes import choices
from fewbits.passes import simplify
from fewbits.progress import Progress
from fewbits.verbs import convert as verb
from fewbits.verbs.inputs import DataOptions
from fewbits.verbs.made import ConversionError, RewriteError
from models import f32, i64, inverted_residual, proto, residual

ORT = ENGINES["onnxruntime"]


def saved(model: onnx.ModelProto | ir.Model, path: Path) -> Path:
    onnx.save(model if isinstance(model, onnx.ModelProto) else ir.to_proto(model), str(path))
    return path


def text(source: str, tmp_path: Path, opset: int = 17, **weights: object) -> Path:
    return saved(proto(source, opset, **weights), tmp_path / "m.onnx")  # type: ignore[arg-type]


# --- planted faults ---------------------------------------------------------------------------------------------


def _weights(model: ir.Model) -> ir.Value:
    return next(v for v in model.graph.initializers.values() if len(v.shape or ()) > 1)


def times(factor: float) -> Callable[[ir.Model], None]:
    def fault(model: ir.Model) -> None:
        value = _weights(model)
        assert value.const_value is not None
        value.const_value = ir.tensor((value.const_value.numpy() * factor).astype(np.float32), name=value.name)

    return fault


def swapped(model: ir.Model) -> None:
    value = _weights(model)
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy()[::-1].copy(), name=value.name)


def one_channel(model: ir.Model) -> None:
    """A thousandth more in one channel only."""
    value = _weights(model)
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[0] *= 1.001
    value.const_value = ir.tensor(array, name=value.name)


def shifted(model: ir.Model) -> None:
    """Padding moved by a pixel."""
    node = next(n for n in model.graph if "pads" in n.attributes)
    node.attributes["pads"] = ir.AttrInt64s("pads", [0, 1, 2, 1])


FAULTS = {
    "doubled": times(2),
    "1 %": times(1.01),
    "0.1 %": times(1.001),
    "one channel": one_channel,
    "swapped": swapped,
    "shifted": shifted,
}


def transformer() -> onnx.ModelProto:
    return proto(
        """g (float[b,s,16] x) => (float[b,s,16] y) {
             q = MatMul(x, wq)  k = MatMul(x, wk)  t = Transpose<perm=[0,2,1]>(k)  s0 = MatMul(q, t)
             p = Softmax<axis=-1>(s0)  v = MatMul(x, wv)  a = MatMul(p, v)  r = Add(a, x)
             y = LayerNormalization<axis=-1>(r, g1, b1) }""",
        wq=(16, 16),
        wk=(16, 16),
        wv=(16, 16),
        g1=f32(*[1.5] * 16),
        b1=f32(*[0.1] * 16),
    )


NETWORKS = {
    "residual": (residual, list(FAULTS)),
    "inverted": (inverted_residual, list(FAULTS)),
    "transformer": (transformer, ["doubled", "1 %", "0.1 %", "one channel", "swapped"]),
}


@pytest.mark.parametrize("name", ["o.onnx", "o.xml"])
@pytest.mark.parametrize(
    ("network", "fault"), [(network, fault) for network, (_, faults) in NETWORKS.items() for fault in faults]
)
def test_a_fault_of_a_rewrite_is_found_and_the_file_is_written_without_rewrites(
    network: str, fault: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(NETWORKS[network][0](), tmp_path / "m.onnx")

    def wrong(model: ir.Model) -> ir.Model:
        made = simplify(model)
        FAULTS[fault](made)
        return made

    monkeypatch.setattr(verb, "simplify", wrong)
    progress = Progress()
    made = fewbits.convert(path, out=tmp_path / name, progress=progress)
    assert any("not simplified" in said and "report" in said for said in progress.warnings)
    assert made.sqnr_db > 100
    monkeypatch.setattr(verb, "_as_read", wrong)
    with pytest.raises(RewriteError) as caught:
        fewbits.convert(path, out=tmp_path / f"2{name}")
    assert (caught.value.exit_code, list(tmp_path.glob("2*"))) == (1, [])


@pytest.mark.parametrize("to", ["fp16", "bf16"])
def test_a_fault_too_small_to_see_in_16_bits_is_found_before(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: ir.Model) -> ir.Model:
        made = simplify(model)
        times(1.0005)(made)
        return made

    monkeypatch.setattr(verb, "simplify", wrong)
    progress = Progress()
    fewbits.convert(saved(residual(), tmp_path / "m.onnx"), out=tmp_path / "o.onnx", to=to, progress=progress)
    assert any("not simplified" in said for said in progress.warnings)


def test_a_rewrite_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: ir.Model) -> ir.Model:
        raise IndexError("no such input")

    monkeypatch.setattr(verb, "simplify", failing)
    progress = Progress()
    fewbits.convert(saved(residual(), tmp_path / "m.onnx"), out=tmp_path / "o.onnx", progress=progress)
    assert any("no such input" in said for said in progress.warnings)


GONE = {
    "an epsilon": ("g (float[2,8] x) => (float[2,8] y) { n = Abs(x)  d = Add(n, k)  y = Div(x, d) }", f32(1e-12)),
    "a bound": ("g (float[2,8] x) => (float[2,8] y) { n = Abs(x)  d = Max(n, k)  y = Div(x, d) }", f32(1e-30)),
}


@pytest.mark.parametrize("case", GONE)
def test_numbers_that_turn_to_nan_only_at_zero_are_found(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0/0 where the original divides by an epsilon: random numbers never show it."""
    source, k = GONE[case]

    def wrong(model: ir.Model) -> ir.Model:
        made = model.clone()
        node = next(n for n in made.graph if n.op_type in ("Add", "Max"))
        assert node.inputs[0] is not None
        node.outputs[0].replace_all_uses_with(node.inputs[0])
        made.graph.remove(node)
        return made

    monkeypatch.setattr(verb, "simplify", wrong)
    progress = Progress()
    made = fewbits.convert(text(source, tmp_path, k=k), out=tmp_path / "o.onnx", progress=progress)
    assert any("not simplified" in said and "zeros" in said for said in progress.warnings)
    assert made.max_abs == 0


@pytest.mark.parametrize("source", ["float[b,s,8] x", "float[2,s,8] x", "float[b,4,8] x"])
def test_sizes_that_a_rewrite_fixes_are_found(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: ir.Model) -> ir.Model:
        made = model.clone()
        node = next(n for n in made.graph if n.op_type == "Reshape")
        assert node.inputs[1] is not None
        node.inputs[1].const_value = ir.tensor(i64(1, -1, 8), name="shape")
        return made

    monkeypatch.setattr(verb, "simplify", wrong)
    progress = Progress()
    path = text(f"g ({source}) => (float[?,?,8] y) {{ y = Reshape(x, shape) }}", tmp_path, shape=i64(0, -1, 8))
    fewbits.convert(path, out=tmp_path / "o.onnx", progress=progress)
    assert any("not simplified" in said for said in progress.warnings)


# --- what is no fault -------------------------------------------------------------------------------------------

HARMLESS = {
    "normalised rows": "g (float[2,4,8] x) => (float[2,4,8] y) { y = LayerNormalization<epsilon=1e-12>(x, g8, b8) }",
    "cosine": """g (float[2,8] x) => (float[2,8] y) { n = ReduceL2<axes=[1], keepdims=1>(x)  y = Div(x, n) }""",
    "largest": """g (float[2,8] x) => (int64[2] y) { h = MatMul(x, w)  y = ArgMax<axis=1, keepdims=0>(h) }""",
    "exponentials": """g (float[2,8] x) => (float[2,8] y) { h = MatMul(x, w)  y = Exp(h) }""",
    "no number": """g (float[2,8] x) => (float[2,8] y) { l = Log(x)  y = Sqrt(l) }""",
    "sorted": """g (float[2,8] x) => (float[2,3] y, int64[2,3] i) { h = MatMul(x, w)  y, i = TopK(h, three) }""",
    "sequence": """g (float[2,8] x) => (seq(float[2,4]) y) { y = SplitToSequence<axis=1>(x, four) }""",
    "nothing to compute": "g (float[n] x) => (float[n] y) { y = Identity(x) }",
    "scalar": "g (float x) => (float y) { y = Sin(x) }",
    "whole numbers": "g (int64[2,n] x, int32[2,n] k) => (int64[2,n] y) { c = Cast<to=7>(k)  y = Add(x, c) }",
}


@pytest.mark.parametrize("name", ["o.onnx", "o.xml"])
@pytest.mark.parametrize("case", [case for case in HARMLESS if case != "sequence"])
def test_inputs_at_the_edge_are_no_reason_to_refuse(case: str, name: str, tmp_path: Path) -> None:
    weights = {
        "g8": f32(*[1.25] * 8),
        "b8": f32(*[0.3] * 8),
        "w": (8, 8),
        "three": i64(3),
        "four": np.array(4, np.int64),
    }
    used = {key: value for key, value in weights.items() if re.search(rf"\b{key}\b", HARMLESS[case])}
    made = fewbits.convert(text(HARMLESS[case], tmp_path, **used), out=tmp_path / name)
    assert made.sqnr_db > 80


# --- what is fed ------------------------------------------------------------------------------------------------

SIZES = {
    "all free": "g (float[b,s,d] x) => (float[b,s,e] y) { y = MatMul(x, w4) }",
    "tied": "g (float[b,s] x, float[b,t] z) => (float[b,u] y) { y = Concat<axis=1>(x, z) }",
    "equal": "g (float[b,s] x, float[b,t] z) => (float[b,s] y) { y = Mul(x, z) }",
    "a sum": "g (float[b,past] p, float[b,now] n, float[b,total] m) => (float[b,t] y) "
    "{ c = Concat<axis=1>(p, n)  y = Mul(c, m) }",
    "fixed inside": "g (float[b,s] x) => (float[?,?] y) { y = Reshape(x, to8) }",
    "stride of 32": "g (float[b,3,h,w] x) => (float[b,3,h,w] y) "
    "{ p = MaxPool<kernel_shape=[32,32], strides=[32,32]>(x)  "
    'u = Upsample<mode="nearest">(p, by32)  y = Add(x, u) }',
}


@pytest.mark.parametrize("name", ["o.onnx", "o.xml"])
@pytest.mark.parametrize("case", SIZES)
def test_free_sizes_are_given_values_that_suit_the_model(case: str, name: str, tmp_path: Path) -> None:
    weights = {"w4": (4, 5), "to8": i64(-1, 4), "by32": f32(1, 1, 32, 32)}
    used = {key: value for key, value in weights.items() if key in SIZES[case]}
    model = proto(SIZES[case], 9 if "Upsample" in SIZES[case] else 17, **used)
    if case == "a sum":  # as exporters write it, and ONNX text cannot
        model.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "past + now"
    made = fewbits.convert(saved(model, tmp_path / "m.onnx"), out=tmp_path / name)
    assert made.sqnr_db > 100
    assert made.deviations[0].samples == 3


def test_sizes_that_nobody_guesses_are_asked_for_in_one_sentence(tmp_path: Path) -> None:
    path = text("g (float[b,s] x) => (float[b,5] y) { y = MatMul(x, w) }", tmp_path, w=(123, 5))
    with pytest.raises(InputError, match=r"--input-shape x:N,N") as caught:
        fewbits.convert(path, out=tmp_path / "o.onnx")
    assert caught.value.exit_code == 2
    assert fewbits.convert(path, out=tmp_path / "o.onnx", input_shapes=("x:2,123",)).max_abs < 1e-4


def test_sizes_that_the_model_cannot_take_are_refused(tmp_path: Path) -> None:
    """An input without batch, whose first size are the channels."""
    nodes = "u = Unsqueeze(x, z) c = Conv(u, w) y = GlobalAveragePool(c)"
    path = text(f"g (float[3,12,12] x) => (float[1,8,1,1] y) {{ {nodes} }}", tmp_path, z=i64(0), w=(8, 3, 3, 3))
    with pytest.raises(InputError, match="--input-shape") as caught:
        fewbits.convert(path, out=tmp_path / "o.onnx", input_shapes=("x:1,12,12",))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "o.onnx").exists()


def test_sizes_asked_for_may_differ_from_those_of_the_file(tmp_path: Path) -> None:
    path = text("g (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }", tmp_path, w=(4, 3, 3, 3))
    made = fewbits.convert(path, out=tmp_path / "o.onnx", input_shapes=("x:2,3,20,9",))
    assert made.sqnr_db > 100
    assert made.truth.startswith("the original in ONNX Runtime")


def test_masks_and_large_whole_numbers_are_fed(tmp_path: Path) -> None:
    path = text(
        """g (int64[b,s] mask, int64[b,s] time, float[b,s] x) => (float[b,s] y, float[b,s] z) {
             m = Cast<to=1>(mask)  i = Sub(one, m)  big = Mul(i, low)  s0 = Add(x, big)  y = Softmax(s0)
             t = Cast<to=1>(time)  z = Mul(t, part) }""",
        tmp_path,
        one=f32(1),
        low=f32(-10000),
        part=f32(1.1),
    )
    progress = Progress()
    made = fewbits.convert(path, out=tmp_path / "o.onnx", progress=progress)
    assert {"random", "masks", "zeros", "constant rows", "large whole numbers"} <= {d.inputs for d in made.deviations}
    assert not progress.warnings
    half = fewbits.convert(path, out=tmp_path / "h.onnx", to="fp16", progress=progress)
    assert half.sqnr_db > 50
    assert not progress.warnings  # what the whole numbers become stays FP32


# --- what served as truth, and whose fault it is ----------------------------------------------------------------


def test_a_model_that_no_engine_runs_is_not_called_proved(tmp_path: Path) -> None:
    node = helper.make_node("Foo", ["x"], ["y"], domain="own")
    x, y = (helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        ir_version=8,
    )
    progress = Progress()
    made = fewbits.convert(saved(model, tmp_path / "m.onnx"), out=tmp_path / "o.onnx", progress=progress)
    assert (made.truth, made.deviations) == ("none: no engine runs the original", ())
    assert any("not proved" in said for said in progress.warnings)


def test_an_ir_is_held_against_openvino(tmp_path: Path) -> None:
    fewbits.convert(saved(residual(), tmp_path / "m.onnx"), out=tmp_path / "ir.xml")
    made = fewbits.convert(tmp_path / "ir.xml", out=tmp_path / "o.onnx")
    assert made.truth.startswith("the original in OpenVINO")
    assert made.sqnr_db > 100


LACKING = {
    "a mode": ('g (float[1,4] x) => (float[1,6] y) { y = Pad<mode="wrap">(x, p) }', "Pad", 19),
    "an operator": ("g (float[1,4] x) => (float[1,4] y) { r = Relu(x)  y = Shrink<lambd=0.5, bias=0.1>(r) }", "", 17),
    "casts to FP16": (
        "g (float[1,9] x) => (float[1,9] y) { a = Mul(x, k)  h = Cast<to=10>(a)  y = Cast<to=1>(h) }",
        "Cast",
        17,
    ),
}


@pytest.mark.parametrize("case", ["a mode", "casts to FP16"])
def test_what_openvino_lacks_or_does_otherwise_is_not_called_our_fault(case: str, tmp_path: Path) -> None:
    source, operator, opset = LACKING[case]
    weights = {"p": i64(0, 1, 0, 1)} if "p)" in source else {"k": f32(3)}
    path = text(source, tmp_path, opset, **weights)
    with pytest.raises(FewbitsError, match=r"write o\.onnx") as caught:
        fewbits.convert(path, out=tmp_path / "o.xml")
    assert caught.value.exit_code == 2
    assert operator in str(caught.value)
    assert fewbits.convert(path, out=tmp_path / "o.onnx").max_abs == 0


@pytest.mark.parametrize("to", ["fp32", "fp16"])
def test_what_openvino_does_otherwise_is_named_and_no_format_is_blamed(to: str, tmp_path: Path) -> None:
    """Convolutions that grow to a given size; the proof feeds several batches."""
    path = text(
        """g (float[N,3,7,7] x) => (float[N,3,A,B] y) {
             r = Relu(x)  y = ConvTranspose<output_shape=[7,15], strides=[1,2]>(r, w) }""",
        tmp_path,
        w=(3, 3, 3, 3),
    )
    with pytest.raises(ConversionError, match=r"OpenVINO computes .*from ConvTranspose .*write o\.onnx") as caught:
        fewbits.convert(path, out=tmp_path / "o.xml", to=to)
    assert caught.value.exit_code == 2


def test_positions_that_openvino_gives_otherwise_are_seen_in_16_bits(tmp_path: Path) -> None:
    """It counts those of a MaxPool<storage_order=1> by rows; the numbers themselves are right."""
    path = text(
        """g (float[1,2,4,5,4] x) => (float[1,2,4,5,4] y, int64[1,2,4,5,4] i) {
             y, i = MaxPool<kernel_shape=[3,3,3], pads=[1,1,1,1,1,1], storage_order=1>(x) }""",
        tmp_path,
    )
    for to in ("fp32", "fp16"):
        with pytest.raises(ConversionError, match=r"OpenVINO computes .*write o\.onnx"):
            fewbits.convert(path, out=tmp_path / "o.xml", to=to)


def test_sizes_that_are_tried_stay_small_however_many_are_free() -> None:
    for sizes in (("n", "a", "b", "c", "d"), ("n", 512, "h", "w"), (1, 3, 4096, 4096), ("n", 3, 4096, 4096)):
        one = ModelInput("x", sizes, np.dtype(np.float32), Use())
        made = [math.prod(shapes["x"]) for shapes in choices([one])]
        assert made
        assert max(made) <= max(4_000_000, 2 * math.prod(size for size in sizes if isinstance(size, int)))


@pytest.mark.parametrize("name", ["o.onnx", "o.xml"])
@pytest.mark.parametrize("drawing", ["RandomNormalLike", "RandomUniformLike"])
def test_random_outputs_are_compared_in_shape_and_the_others_in_full(drawing: str, name: str, tmp_path: Path) -> None:
    path = text(
        f"g (float[2,4] x) => (float[2,4] y, float[2,4] z) {{ r = {drawing}(x)  y = Add(x, r)  z = Mul(x, k) }}",
        tmp_path,
        k=f32(3),
    )
    progress = Progress()
    made = fewbits.convert(path, out=tmp_path / name, progress=progress)
    assert {d.output for d in made.deviations} == {"z"}
    assert any("y is drawn at random" in said for said in progress.warnings)


def test_data_decides_for_16_bits(tmp_path: Path) -> None:
    """Random numbers overflow in FP16; those of the data do not."""
    path = text(
        """g (float[1,4] x) => (float[1,4] y) {
             a = Mul(x, k)  b = Relu(a)  c = Mul(b, k)  d = Relu(c)  y = Mul(d, l) }""",
        tmp_path,
        k=f32(3000),
        l=f32(1e-4),
    )
    with pytest.raises(ConversionError, match="more than rounding"):
        fewbits.convert(path, out=tmp_path / "o.onnx", to="fp16")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(0, 1e-3, (8, 4)).astype(np.float32))
    progress = Progress()
    data = DataOptions(data=str(tmp_path / "d.npz"))
    made = fewbits.convert(path, out=tmp_path / "o.onnx", to="fp16", data=data, progress=progress)
    assert made.deviations[-1].inputs == "data"
    assert any("on the data it does not" in said for said in progress.warnings)


def test_the_file_is_run_by_nothing_but_its_own_bytes(tmp_path: Path) -> None:
    """What was written gives, in the engine, what the original gives."""
    path = saved(transformer(), tmp_path / "m.onnx")
    fewbits.convert(path, out=tmp_path / "o.onnx")
    x = {"x": np.random.default_rng(1).normal(size=(4, 9, 16)).astype(np.float32)}
    ours, theirs = (ORT.compile(p, Options()).run(x)["y"] for p in (tmp_path / "o.onnx", path))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
