"""What ``calibrate`` hands over is right in the engine that will run it, or is not handed over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import fewbits
from fewbits.errors import FewbitsError
from fewbits.progress import Progress
from fewbits.quantization.records import Calibrated

RNG = np.random.default_rng(0)
Array = np.ndarray


class Heard(Progress):
    """Keeps what a person would read."""

    def step(self, what: str, done: int = 0, total: int = 0) -> None:
        pass


def drawn(*shape: int, gain: float | None = None) -> Array:
    scale = gain if gain is not None else 1 / np.sqrt(max(np.prod(shape[1:]), 1))
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def write(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    x: Array,
    weights: dict[str, Array],
    out: Sequence[int | str | None],
    *,
    domains: Sequence[tuple[str, int]] = (("", 17),),
    batch: int | str = "N",
) -> None:
    """``m.onnx``, which reads x and gives y, and its samples ``d.npz``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [batch, *x.shape[1:]])],
        [helper.make_tensor_value_info("y", 1, out)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(*d) for d in domains], ir_version=8)
    onnx.save(made, folder / "m.onnx")
    np.savez(folder / "d.npz", x=x)


def calibrated(folder: Path, out: str, engine: str = "all") -> tuple[Calibrated, Heard]:
    heard = Heard()
    options = fewbits.DataOptions(data=folder / "d.npz")
    return fewbits.calibrate(folder / "m.onnx", options, out=folder / out, engine=engine, progress=heard), heard


def on(engine: str, path: Path, samples: Array) -> list[Array]:
    """The engine itself, not through fewbits."""
    if engine == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [session.run(None, {"x": sample[None]})[0] for sample in samples]
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [compiled({"x": sample[None]})[0].copy() for sample in samples]


def pooled_db(expected: Sequence[Array], got: Sequence[Array]) -> float:
    noise = sum(float(((a - b).astype(np.float64) ** 2).sum()) for a, b in zip(expected, got, strict=True))
    signal = sum(float((a.astype(np.float64) ** 2).sum()) for a in expected)
    return float(10 * np.log10(signal / noise)) if noise else np.inf


def check_both(folder: Path, least_db: float = 25.0) -> None:
    """Q/DQ for both engines and IR for OpenVINO are as near the original as eight bits are, and say so."""
    truth_of = {name: on(name, folder / "m.onnx", np.load(folder / "d.npz")["x"]) for name in ("onnxruntime",)}
    fresh = np.load(folder / "d.npz")["x"]
    for out, engines in (("o.onnx", ("openvino", "onnxruntime")), ("o.xml", ("openvino",))):
        made, _ = calibrated(folder, out)
        assert {noise.engine for noise in made.outputs} == set(engines)
        for engine in engines:
            reached = pooled_db(truth_of["onnxruntime"], on(engine, folder / out, fresh))
            said = min(noise.sqnr_db for noise in made.outputs if noise.engine == engine)
            assert reached > least_db
            assert abs(reached - said) < 12


PAD = {"pads": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    "pool",
    [
        {"pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"pads": [0, 1, 1, 0], "count_include_pad": 1},
        {"pads": [1, 1, 1, 1], "count_include_pad": 0},
        {"auto_pad": "SAME_UPPER", "count_include_pad": 1},
    ],
)
@pytest.mark.parametrize("middle", [None, "Relu", "MaxPool"])
def test_average_pools_that_count_their_padding(tmp_path: Path, pool: dict[str, object], middle: str | None) -> None:
    nodes = [helper.make_node("Conv", ["x", "w1", "b"], ["c"], **PAD)]
    if middle == "MaxPool":
        nodes.append(helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2]))
    elif middle:
        nodes.append(helper.make_node(middle, ["c"], ["m"]))
    nodes += [
        helper.make_node("AveragePool", ["m" if middle else "c"], ["p"], kernel_shape=[3, 3], **pool),
        helper.make_node("Conv", ["p", "w2"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"]),
    ]
    weights = {"w1": drawn(8, 8, 3, 3), "b": drawn(8, gain=0.5), "w2": drawn(8, 8, 1, 1)}
    write(tmp_path, nodes, drawn(16, 8, 12, 12, gain=1), weights, ["N", 8, None, None])
    check_both(tmp_path)


def test_shapes_that_inference_does_not_know_are_learned(tmp_path: Path) -> None:
    """A contrib operator; a sequence-first recurrent layer; attention with a batch that is not first."""
    weights = {"w": drawn(16, 16), "v": drawn(16, 16)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gelu", ["h"], ["k"], domain="com.microsoft"),
        helper.make_node("MatMul", ["k", "v"], ["y"]),
    ]
    write(tmp_path, nodes, drawn(24, 16, gain=1), weights, ["N", 16], domains=(("", 17), ("com.microsoft", 1)))
    check_both(tmp_path)


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_batch_that_is_not_first_inside(tmp_path: Path, kind: str, batch: int | str) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    weights = {"W": drawn(1, gates * 16, 16), "R": drawn(1, gates * 16, 16), "w": drawn(16, 5), "ax": np.int64([1])}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(kind, ["t", "W", "R"], ["o"], hidden_size=16),
        helper.make_node("Squeeze", ["o", "ax"], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["q"]),
        helper.make_node("Transpose", ["q"], ["y"], perm=[1, 0, 2]),
    ]
    write(tmp_path, nodes, drawn(16, 9, 16, gain=1), weights, [batch, 9, 5], batch=batch)
    check_both(tmp_path)


def test_sizes_that_depend_on_the_sample_leave_their_layers_float(tmp_path: Path) -> None:
    """As many rows as there are positive numbers in the sample."""
    weights = {"w": drawn(16, 16), "v": drawn(16, 4), "zero": np.float32(0), "ax": np.int64([0])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMax", ["h"], ["top"], axes=[2], keepdims=0),
        helper.make_node("Greater", ["top", "level"], ["k"]),
        helper.make_node("Squeeze", ["k", "ax"], ["m"]),
        helper.make_node("Squeeze", ["h", "ax"], ["r"]),
        helper.make_node("Compress", ["r", "m"], ["c"], axis=0),
        helper.make_node("MatMul", ["c", "v"], ["q"]),
        helper.make_node("ReduceSum", ["q", "ax"], ["y"], keepdims=1),
    ]
    write(tmp_path, nodes, drawn(24, 12, 16, gain=1), {**weights, "level": np.float32(1.7)}, [1, 4])
    made, _ = calibrated(tmp_path, "o.onnx", "onnxruntime")
    assert [reason for reason in made.plan.skipped.values() if "size" in reason]
    assert made.plan.weights
    assert min(noise.sqnr_db for noise in made.outputs) > 20


@pytest.mark.parametrize("lowest", [-np.inf, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("ceil", [0, 1])
def test_padding_with_the_lowest_number(tmp_path: Path, lowest: float, ceil: int) -> None:
    weights = {
        "w1": drawn(8, 8, 3, 3),
        "w2": drawn(8, 8, 1, 1),
        "pads": np.int64([0, 0, 0, 0, 0, 0, 1, 1]),
        "v": np.float32(lowest),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], **PAD),
        helper.make_node("Pad", ["c", "pads", "v"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=ceil),
        helper.make_node("Conv", ["p", "w2"], ["y"]),
    ]
    write(tmp_path, nodes, drawn(16, 8, 12, 12, gain=1), weights, ["N", 8, None, None])
    check_both(tmp_path)


@pytest.mark.parametrize(("sample", "value"), [(3, 1e6), (7, -1e5), (0, 1e8)])
@pytest.mark.parametrize("out", ["o.onnx", "o.xml"])
def test_a_broken_calibration_sample_is_named(tmp_path: Path, sample: int, value: float, out: str) -> None:
    x = drawn(24, 8, 10, 10, gain=1)
    x[sample, 2, 4, 4] = value
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"]),
    ]
    write(tmp_path, nodes, x, {"w1": drawn(6, 8, 3, 3), "w2": drawn(4, 6, 1, 1)}, ["N", 4, 8, 8])
    with pytest.raises(FewbitsError, match=rf"\[{sample}\] takes \w+ to ") as caught:
        calibrated(tmp_path, out)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.glob("o.*"))


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "output_shape": [20, 20]},
        {"dilations": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_an_engine_that_computes_fp32_otherwise_is_out(tmp_path: Path, attributes: dict[str, object]) -> None:
    """Its IR is refused with the operator's name; the Q/DQ file is for the other engine, and right there."""
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["t"], name="up", **attributes),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["y"]),
    ]
    x = drawn(16, 8, 10, 10, gain=1)
    write(tmp_path, nodes, x, {"w": drawn(8, 12, 3, 3, gain=0.2), "v": drawn(5, 12, 1, 1)}, ["N", 5, None, None])
    truth, theirs = (on(engine, tmp_path / "m.onnx", x) for engine in ("onnxruntime", "openvino"))
    assert truth[0].shape != theirs[0].shape or pooled_db(truth, theirs) < 20, "the engines agree by now: pick another"
    with pytest.raises(FewbitsError, match="ConvTranspose 'up' is computed otherwise") as caught:
        calibrated(tmp_path, "o.xml")
    assert caught.value.exit_code == 2
    made, heard = calibrated(tmp_path, "o.onnx")
    assert {noise.engine for noise in made.outputs} == {"onnxruntime"}
    assert any("not for openvino" in warning and "'up'" in warning for warning in heard.warnings)
    assert pooled_db(truth, on("onnxruntime", tmp_path / "o.onnx", x)) > 25


def test_an_operator_that_one_engine_lacks_is_no_matter_for_the_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], **PAD),
        helper.make_node("Pad", ["c", "pads"], ["q"], mode="wrap"),
        helper.make_node("Conv", ["q", "v"], ["y"]),
    ]
    weights = {"w": drawn(8, 8, 3, 3), "v": drawn(8, 8, 1, 1), "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}
    x = drawn(16, 8, 12, 12, gain=1)
    write(tmp_path, nodes, x, weights, ["N", 8, 14, 14], domains=(("", 19),))
    truth = on("onnxruntime", tmp_path / "m.onnx", x)
    for engine in ("onnxruntime", "all"):
        made, _ = calibrated(tmp_path, "o.onnx", engine)
        assert {noise.engine for noise in made.outputs} == {"onnxruntime"}
        assert pooled_db(truth, on("onnxruntime", tmp_path / "o.onnx", x)) > 25
    for out, engine in (("o.xml", "all"), ("p.onnx", "openvino")):
        with pytest.raises(FewbitsError) as caught:
            calibrated(tmp_path, out, engine)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", [(16,), (3, 16)])
def test_vectors_of_weights_stay_float(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    out = ["N", *shape[:-1]]
    write(tmp_path, nodes, drawn(16, *shape, gain=1), {"w": drawn(16, 16), "v": drawn(16)}, out)
    check_both(tmp_path)
