"""Odd graphs through ``choose``, ``measure``, ``inspect`` and ``compare``: a decision or a sentence, never a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from fewbits.errors import DataError, ModelError
from fewbits.progress import Progress
from fewbits.selection.records import Decision, Failed, Measured
from fewbits.verbs.choose import choose
from fewbits.verbs.compare import compare
from fewbits.verbs.inputs import DataOptions, check_model
from fewbits.verbs.inspect import inspect
from fewbits.verbs.measure import measure

COUNT = 6
RNG = np.random.default_rng(0)
UNPOOL = """g (float[N,3,8,8] x) => (float[N,4,8,8] y) { c = Conv<pads=[1,1,1,1]>(x, w)
    p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)  u = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i)
    y = Conv(u, w2) }"""
UNPOOL_WEIGHTS = {"w": (4, 3, 3, 3), "w2": (4, 4, 1, 1)}


def drawn(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, (COUNT, *shape)).astype(np.float32)


def written(folder: Path, text: str, data: dict[str, np.ndarray], **weights: Any) -> tuple[Path, DataOptions]:
    """The model as ONNX text, untouched, and its data; weights given as shapes are drawn."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n{text}')
    for name, what in weights.items():
        array = RNG.normal(0, 0.3, what).astype(np.float32) if isinstance(what, tuple) else np.asarray(what)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "data.npz", **data)
    return folder / "model.onnx", DataOptions(folder / "data.npz", metric="cosine", samples=3)


def decided(model: Path, data: DataOptions, **options: Any) -> Decision:
    """A quick run: FP32 and FP16, and little time for either."""
    given = {"formats": ("fp32", "fp16"), "threads": 1, "time_budget_s": 0.5} | options
    return choose(model, data, out=model.parent / "run", **given)


ODD: dict[str, tuple[str, dict[str, np.ndarray], dict[str, Any]]] = {
    "outputs of all types": (
        """g (float[N,3,8,8] x) => (float[N,4,8,8] y, int64[N,1,8,8] i, bool[N,4,8,8] b, float16[N,4,8,8] h) {
             y = Conv<pads=[1,1,1,1]>(x, w)  i = ArgMax<axis=1>(y)  b = Greater(y, z)  h = Cast<to=10>(y) }""",
        {"x": drawn(3, 8, 8)},
        {"w": (4, 3, 3, 3), "z": np.float32(0)},
    ),
    "a scalar in, a scalar out": (
        "g (float[1,16] x, float s) => (float y) { m = MatMul(x, w)  n = Mul(m, s)  y = ReduceMean<keepdims=0>(n) }",
        {"x": drawn(16), "s": drawn()},
        {"w": (16, 8)},
    ),
    "integers out": (
        "g (float[N,16] x) => (int64[N,1] y) { m = MatMul(x, w)  y = ArgMax<axis=1>(m) }",
        {"x": drawn(16)},
        {"w": (16, 16)},
    ),
    "sizes that depend on the data": (
        """g (float[1,16] x) => (float[1,K] y) {
             m = MatMul(x, w)  g = Greater(m, z)  f = Reshape(g, flat)  y = Compress<axis=1>(m, f) }""",
        {"x": drawn(16)},
        {"w": (16, 16), "z": np.float32(0), "flat": np.int64([-1])},
    ),
    "a recurrent layer, sequence first": (
        """g (float[5,N,16] x) => (float[5,N,8] y) {
             h, hh, cc = LSTM<hidden_size=8>(x, w, r)  y = Squeeze(h, one) }""",
        {"x": drawn(5, 1, 16)},
        {"w": (1, 32, 16), "r": (1, 32, 8), "one": np.int64([1])},
    ),
    "no batch": (
        "g (float[3,12] x) => (float[3,8] y) { y = MatMul(x, w) }",
        {"x": drawn(3, 12)},
        {"w": (12, 8)},
    ),
    "pixels": (
        """g (uint8[N,16] x) => (float[N,8] y) { f = Cast<to=1>(x)  y = MatMul(f, w) }""",
        {"x": RNG.integers(0, 256, (COUNT, 16)).astype(np.uint8)},
        {"w": (16, 8)},
    ),
    "a loop": (
        """g (float[1,8] x) => (float[1,4] y) {
             l = Loop(n, t, x) <body = b (int64 i, bool c, float[1,8] v) => (bool c2, float[1,8] v2) {
               c2 = Identity(c)  m = MatMul(v, w)  v2 = Tanh(m) }>
             y = MatMul(l, w2) }""",
        {"x": drawn(8)},
        {"n": np.int64(3), "t": np.array(True), "w": (8, 8), "w2": (8, 4)},
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_choose_decides(name: str, tmp_path: Path) -> None:
    text, data, weights = ODD[name]
    found = decided(*written(tmp_path, text, data, **weights))
    measured = {o.candidate.name for o in found.outcomes if isinstance(o, Measured)}
    assert {"openvino-fp32", "onnxruntime-fp32"} <= measured, found.rejected
    assert found.chosen is not None
    assert not [warning for warning in found.warnings if "overruled" in warning]


@pytest.mark.parametrize("engine", ["onnxruntime", "all"])
def test_an_operator_that_one_engine_lacks_leaves_the_race_to_the_other(engine: str, tmp_path: Path) -> None:
    model, data = written(tmp_path, UNPOOL, {"x": drawn(3, 8, 8)}, **UNPOOL_WEIGHTS)
    found = decided(model, data, engine=engine)
    assert found.chosen is not None
    failed = {o.candidate.name: o.reason for o in found.outcomes if isinstance(o, Failed)}
    assert failed.keys() == (set() if engine == "onnxruntime" else {"openvino-fp32", "openvino-fp16"})
    assert all("MaxUnpool" in why or "OpenVINO cannot" in why for why in failed.values())
    progress = Progress()
    ran = measure([model], data, engine=engine, rounds=2, threads=1, progress=progress)
    assert [m.subject.engine for m in ran.models] == ["onnxruntime"]
    assert any("openvino" in warning for warning in progress.warnings) == (engine == "all")
    assert inspect(model, data).run is not None
    assert compare(model, model, data).samples == 3


def test_an_engine_that_was_asked_for_and_lacks_an_operator_is_a_sentence(tmp_path: Path) -> None:
    model, data = written(tmp_path, UNPOOL, {"x": drawn(3, 8, 8)}, **UNPOOL_WEIGHTS)
    with pytest.raises(ModelError, match="openvino"):
        decided(model, data, engine="openvino")
    with pytest.raises(ModelError, match="openvino"):
        measure([model], data, engine="openvino", rounds=2, threads=1)


def test_an_operator_that_no_engine_has_is_a_sentence(tmp_path: Path) -> None:
    model, data = written(
        tmp_path, "g (float[1,8] x) => (float[1,8] y) { y = com.microsoft.NoSuch(x) }", {"x": drawn(8)}
    )
    for verb in (decided, lambda *a: measure([a[0]], a[1]), lambda *a: compare(a[0], *a)):
        with pytest.raises(ModelError):
            verb(model, data)


DYNAMIC = """g (float[N,16] x) => (float[N,4] y) { q, s, z = DynamicQuantizeLinear(x)
    m = MatMulInteger(q, w, z)  f = Cast<to=1>(m)  y = Mul(f, s) }"""


def test_a_dynamically_quantized_model_is_refused_by_name_and_inspected(tmp_path: Path) -> None:
    model, data = written(tmp_path, DYNAMIC, {"x": drawn(16)}, w=np.ones((16, 4), np.int8))
    with pytest.raises(ModelError, match=r"quantized already.*DynamicQuantizeLinear"):
        decided(model, data)
    assert {entry.note for entry in inspect(model).coverage} == {"the model is quantized already"}


@pytest.mark.parametrize("free", ["batch,seq", "-1,-1", "seq,1"])
def test_free_sizes_are_those_of_the_data(free: str, tmp_path: Path) -> None:
    """[batch, seq, 16] fed [N, 9, 16]; [seq, 1, 16] fed [N, 9, 1, 16]."""
    model, data = written(tmp_path, f"g (float[{free},16] x) => (float[{free},8] y) {{ y = MatMul(x, w) }}".replace(
        "-1", "one"), {"x": drawn(9, 1, 16) if free == "seq,1" else drawn(9, 16)}, w=(16, 8))  # fmt: skip
    if free == "-1,-1":
        proto = onnx.load(model)
        for value in (*proto.graph.input, *proto.graph.output):
            for size in list(value.type.tensor_type.shape.dim)[:2]:
                size.dim_value = -1
        onnx.save(proto, model)
    progress = Progress()
    assert inspect(model, data, progress=progress).samples == 3
    (warning,) = [warning for warning in progress.warnings if "free sizes" in warning]
    assert ("[9,1,16]" if free == "seq,1" else "[N,9,16]") in warning
    assert compare(model, model, data).samples == 3
    (ran,) = measure([model], data, engine="onnxruntime", rounds=2, threads=1).models
    assert ran.measurement.accuracy is not None
    assert ran.measurement.accuracy.score == 1


def test_sizes_that_differ_between_samples_are_refused_with_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = written(tmp_path, "g (float[N,M,16] x) => (float[N,M,8] y) { y = MatMul(x, w) }", {}, w=(16, 8))
    code = "import numpy as np\ndef rows(): return [({'x': np.ones((n, 16), 'f')}, None) for n in (3, 4, 5)]\n"
    (tmp_path / "sized.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"differ between samples.*--input-shape x:1,N,16"):
        inspect(model, DataOptions("sized:rows"))


def tensors(kind: str) -> ir.Model:
    """A model whose input or output is no tensor of numbers."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    if kind == "strings":
        x = helper.make_tensor_value_info("x", TensorProto.STRING, [1, 4])
    elif kind == "complex":
        x = helper.make_tensor_value_info("x", TensorProto.COMPLEX64, [1, 4])
    elif kind == "sequence":
        y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    else:
        x = onnx.ValueInfoProto(name="x", type=helper.make_optional_type_proto(x.type))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    return ir.from_proto(helper.make_model(graph))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("strings", "input x holds string"),
        ("complex", "input x holds complex"),
        ("sequence", "output y is a sequence"),
        ("optional", "input x is an optional"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_refused_by_name(kind: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        check_model(tensors(kind), "m.onnx")


def test_a_batch_fixed_to_several_says_how_to_go_on(tmp_path: Path) -> None:
    model, data = written(
        tmp_path, "g (float[4,16] x) => (float[4,8] y) { y = MatMul(x, w) }", {"x": drawn(16)}, w=(16, 8)
    )
    for verb in (lambda: decided(model, data), lambda: inspect(model, data), lambda: compare(model, model, data)):
        with pytest.raises(DataError, match=r"--input-shape x:1,16.*\[N,4,16\]"):
            verb()
