"""Statistics and levels become Q/DQ with the scales of 2019, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from ir_2019 import Ir, drawn

from fewbits.frontends import legacy_ir
from fewbits.graph import qdq
from fewbits.graph.quantized import is_quantized, queries
from models import Array, check, node, on_onnxruntime

W, B = drawn(3, 4, 1, 1, seed=1), drawn(3, seed=2)
SHAPE, OUT = (1, 4, 6, 5), (1, 3, 6, 5)


def statistics(**layers: tuple[str, str]) -> str:
    parts = (f"<layer><name>{k}</name><min>{a}</min><max>{b}</max></layer>" for k, (a, b) in layers.items())
    return f"<statistics>{''.join(parts)}</statistics>"


def convolution(made: Ir, name: str, feed: tuple[int, int], level: str = "I8") -> tuple[int, int]:
    data: dict[str, object] = {"kernel": "1,1", "output": 3, "quantization_level": level}
    return made.add("Convolution", name, [feed], OUT, data=data, weights=W, biases=B)


def read(made: Ir, folder: Path) -> ir.Model:
    model = legacy_ir.load(made.write(folder))
    check(model)
    return model


def scales(model: ir.Model) -> dict[str, tuple[float, str]]:
    """Of every activation: its scale and the format; zero points are all 0."""
    found = qdq.quantized_values(model)
    assert all(not zero.any() for _, zero in found.values())
    return {name: (float(scale), str(zero.dtype)) for name, (scale, zero) in found.items()}


def test_signed_and_unsigned_inputs(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*SHAPE)
    first = convolution(made, "c1", x)
    relu = made.add("ReLU", "r1", [first], OUT, data={"quantization_level": "I8"})
    data: dict[str, object] = {"kernel": "1,1", "output": 3, "quantization_level": "I8"}
    made.add("Convolution", "c2", [relu], OUT, data=data, weights=drawn(3, 3, 1, 1))
    made.tail = statistics(
        x=("-1.5, -0.25, 0.0, 0.0", "1.0, 2.540000, 0.5, 1.0"), c1=("-9", "9"), r1=("0.0, 0.0, 0.0", "1, 5.10, 3")
    )
    model = read(made, tmp_path)
    assert scales(model) == {"x": (np.float32(2.54 / 127), "int8"), "r1": (np.float32(5.1 / 255), "uint8")}
    assert node(model, "r1").metadata_props[qdq.LEVEL_KEY] == "I8"
    assert node(model, "c1").metadata_props[qdq.LEVEL_KEY] == "I8"


def test_weights_and_biases(tmp_path: Path) -> None:
    """Weights -127..127 with a scale for each output channel; biases at the scale of the products."""
    made = Ir()
    convolution(made, "c", made.input(*SHAPE))
    made.tail = statistics(x=("0", "2.55"))
    model = read(made, tmp_path)
    conv = node(model, "c")
    weights, biases = (value.producer() for value in conv.inputs[1:] if value is not None)
    assert weights is not None and biases is not None
    scale = np.abs(W).max((1, 2, 3)) / 127
    np.testing.assert_array_equal(queries.constant(weights.inputs[1]), scale.astype(np.float32))
    np.testing.assert_array_equal(queries.constant(weights.inputs[0]), np.rint(W / scale.reshape(-1, 1, 1, 1)))
    stored = queries.constant(biases.inputs[0])
    assert stored is not None and stored.dtype == np.int32
    np.testing.assert_allclose(stored, np.rint(B / (0.01 * scale)), atol=1)


def test_a_dead_channel_leaves_room_for_its_bias(tmp_path: Path) -> None:
    """Weights of 1e-12 and a bias of 3: at their own scale the bias would leave 32 bits, and the layer its kernel."""
    made = Ir()
    dead, bias = np.full((3, 4, 1, 1), 1e-12, np.float32), np.full(3, 3, np.float32)
    data: dict[str, object] = {"kernel": "1,1", "output": 3, "quantization_level": "I8"}
    made.add("Convolution", "c", [made.input(*SHAPE)], OUT, data=data, weights=dead, biases=bias)
    made.tail = statistics(x=("0", "2.55"))
    model = read(made, tmp_path)
    held = node(model, "c").inputs[2]
    assert held is not None and held.producer() is not None
    [found] = on_onnxruntime(model, {"x": np.abs(drawn(*SHAPE))}).values()
    np.testing.assert_allclose(found, 3, rtol=1e-6)


def test_the_result_is_that_of_integers(tmp_path: Path) -> None:
    made = Ir()
    convolution(made, "c", made.input(*SHAPE))
    made.tail = statistics(x=("-2, -2, -2, -2", "1, 1, 1, 1"))
    x = drawn(*SHAPE)
    [found] = on_onnxruntime(read(made, tmp_path), {"x": x}).values()
    q = np.rint(x / (2 / 127)).clip(-128, 127)
    s = np.abs(W).max((1, 2, 3), keepdims=True) / 127
    products: Array = np.einsum("oi,nihw->nohw", np.rint(W / s)[..., 0, 0], q)
    expected = products * (2 / 127) * s.reshape(1, 3, 1, 1) + B.reshape(3, 1, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - products).max() > 1  # a lost scale would be seen


def test_only_layers_marked_i8(tmp_path: Path) -> None:
    made = Ir()
    convolution(made, "c", made.input(*SHAPE), level="FP32")
    made.tail = statistics(x=("0", "2.55"))
    model = read(made, tmp_path)
    assert not is_quantized(model)
    assert "floating point" in node(model, "c").metadata_props[qdq.REASON_KEY]


def test_without_statistics_a_layer_stays_in_float_and_a_note_says_so(tmp_path: Path) -> None:
    made = Ir()
    convolution(made, "c", made.input(*SHAPE))
    model = read(made, tmp_path)
    assert not is_quantized(model)
    assert model.meta["notes"] == ["the IR has no statistics for what 1 I8 layers read, such as c: left in FP32"]


def test_what_only_moves_numbers_keeps_their_scale(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*SHAPE)
    pool: dict[str, object] = {"kernel": "1,1", "pool-method": "max", "rounding_type": "floor"}
    moved = made.add("Pooling", "p", [x], SHAPE, data=pool | {"quantization_level": "I8"})
    convolution(made, "c", moved)
    made.tail = statistics(x=("0", "5.1"), p=("0", "2.55"))
    assert scales(read(made, tmp_path)) == dict.fromkeys(("x", "p"), (np.float32(5.1 / 255), "uint8"))


def test_joined_values_have_the_range_of_the_whole(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*SHAPE)
    left = made.add("ReLU", "l", [x], SHAPE)
    right = made.add("Sigmoid", "r", [x], SHAPE)
    joined = made.add("Concat", "j", [left, right], (1, 8, 6, 5), data={"axis": 1, "quantization_level": "I8"})
    data: dict[str, object] = {"kernel": "1,1", "output": 1, "quantization_level": "I8"}
    made.add("Convolution", "c", [joined], (1, 1, 6, 5), data=data, weights=drawn(1, 8, 1, 1))
    made.tail = statistics(l=("0", "4"), r=("0", "1"), j=("0, 0", "4, 1"))
    assert scales(read(made, tmp_path)) == dict.fromkeys("lrj", (np.float32(4 / 255), "uint8"))


def test_both_sides_of_a_sum(tmp_path: Path) -> None:
    made = Ir()
    x = made.input(*OUT)
    other = made.add("ELU", "e", [x], OUT)
    made.add("Eltwise", "s", [x, other], OUT, data={"operation": "sum", "quantization_level": "I8"})
    made.tail = statistics(x=("-1.27", "1"), e=("0", "2.55"))
    found = scales(read(made, tmp_path))
    assert found == {"x": (np.float32(1.27 / 127), "int8"), "e": (np.float32(2.55 / 255), "uint8")}


def test_a_fully_connected_layer_is_quantized_behind_its_flattening(tmp_path: Path) -> None:
    made = Ir()
    data: dict[str, object] = {"out-size": 2, "quantization_level": "I8"}
    made.add("FullyConnected", "f", [made.input(*SHAPE)], (1, 2), data=data, weights=drawn(2, 120))
    made.tail = statistics(x=("0", "2.55"))
    model = read(made, tmp_path)
    source = node(model, "f").inputs[0]
    assert source is not None
    assert [n.op_type for n in (source.producer(),) if n is not None] == ["DequantizeLinear"]
    assert list(scales(model).values()) == [(np.float32(0.01), "uint8")]


def test_statistics_of_an_input_are_of_what_it_is_fed(tmp_path: Path) -> None:
    """0 to 255 before a mean of 155 and a scale of 2 is -77.5 to 50 behind it."""
    made = Ir()
    convolution(made, "c", made.input(*SHAPE))
    channel = '<channel id="{}"><mean value="155"/><scale value="2"/></channel>'
    made.tail = statistics(x=("0", "255")) + f"<pre-process>{''.join(map(channel.format, range(4)))}</pre-process>"
    [(scale, kind)] = scales(read(made, tmp_path)).values()
    assert (scale, kind) == (np.float32(77.5 / 127), "int8")


def test_the_float_network_alone(tmp_path: Path) -> None:
    made = Ir()
    convolution(made, "c", made.input(*SHAPE))
    made.tail = statistics(x=("0", "2.55"))
    assert not is_quantized(legacy_ir.load(made.write(tmp_path), quantized=False))
