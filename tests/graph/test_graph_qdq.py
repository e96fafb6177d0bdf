"""Q/DQ in a graph computes exactly what ``numerics`` does, and the graph stays valid."""

from __future__ import annotations

import numpy as np
import pytest

from fewbits.graph import qdq, queries
from fewbits.graph.quantized import is_quantized
from fewbits.numerics import INT8, INT8_NARROW, INT32, UINT8, affine, dequantize, fake_quantize, quantize, symmetric
from models import check, feed, network, node, oracle, value

# The reference evaluator knows DequantizeLinear from opset 19 on.
OPSET = 19
PARAMS = [affine(-0.7, 1.9, UINT8), affine(0, 2.1, UINT8), symmetric(np.float32(1.3), INT8)]


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("name", ["x", "a"])
def test_an_activation_is_seen_quantized_by_all_its_readers(name: str, params) -> None:
    model = network(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y, float[1,3,8,8] z) {
             a = Neg(x)  b = Identity(a)  y = Identity(b)  z = Neg(a) }""",
        OPSET,
    )
    if name == "x":
        model = network(
            "g (float[1,3,8,8] x) => (float[1,3,8,8] y, float[1,3,8,8] z) { y = Neg(x)  z = Identity(x) }", OPSET
        )
    inputs = feed(model)
    inputs["x"].flat[:4] = (0, 100, -100, params.scale / 2)  # saturation and a tie as well
    qdq.insert(model, value(model, name), params)
    check(model)
    outputs = oracle(model, inputs)
    if name == "x":
        expected = {"y": -fake_quantize(inputs["x"], params), "z": fake_quantize(inputs["x"], params)}
    else:
        expected = {"y": fake_quantize(-inputs["x"], params), "z": -fake_quantize(-inputs["x"], params)}
    for output, array in expected.items():
        np.testing.assert_array_equal(outputs[output], array)


def test_a_model_output_stays_in_float_and_keeps_its_name() -> None:
    model = network("g (float[1,9] x) => (float[1,9] a, float[1,9] y) { a = Neg(x)  y = Identity(a) }", OPSET)
    inputs = feed(model)
    qdq.insert(model, value(model, "a"), PARAMS[0])
    check(model)
    outputs = oracle(model, inputs)
    np.testing.assert_array_equal(outputs["a"], -inputs["x"])
    np.testing.assert_array_equal(outputs["y"], fake_quantize(-inputs["x"], PARAMS[0]))


@pytest.mark.parametrize("axis", [0, 1, None])
def test_constants_become_integers(axis: int | None) -> None:
    weights = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    magnitude = np.abs(weights).max() if axis is None else np.abs(weights).max(axis=1 - axis)
    params = symmetric(magnitude, INT8_NARROW, axis=axis)
    model = network("g (float[4,5] x) => (float[4,5] y) { [add] y = Add(x, w) }", OPSET, w=weights)
    integers = quantize(weights, params)
    qdq.insert_constant(model, node(model, "add"), 1, integers, params)
    check(model)
    zero = {"x": np.zeros((4, 5), np.float32)}
    np.testing.assert_array_equal(oracle(model, zero)["y"], fake_quantize(weights, params))
    assert "w" not in model.graph.initializers  # the floats are gone from the file
    np.testing.assert_array_equal(model.graph.initializers["w_quantized"].const_value.numpy(), integers)


def test_a_shared_constant_stays_for_its_other_reader() -> None:
    weights = np.linspace(-1, 1, 5, dtype=np.float32)
    params = symmetric(np.float32(1), INT8_NARROW)
    model = network(
        "g (float[5] x) => (float[5] y, float[5] z) { [one] y = Add(x, w)  [two] z = Add(x, w) }", OPSET, w=weights
    )
    qdq.insert_constant(model, node(model, "one"), 1, quantize(weights, params), params)
    check(model)
    outputs = oracle(model, {"x": np.zeros(5, np.float32)})
    np.testing.assert_array_equal(outputs["z"], weights)
    np.testing.assert_array_equal(outputs["y"], fake_quantize(weights, params))
    qdq.insert_constant(model, node(model, "two"), 1, quantize(weights, params), params)
    check(model)
    np.testing.assert_array_equal(oracle(model, {"x": np.zeros(5, np.float32)})["z"], fake_quantize(weights, params))


def test_an_int32_bias_is_read_back_exactly() -> None:
    params = symmetric(np.array([1.0, 2.0], np.float32), INT32, axis=0)
    bias = np.array([0.123456, -1.9], np.float32)
    model = network("g (float[2] x) => (float[2] y) { [add] y = Add(x, b) }", OPSET, b=bias)
    integers = quantize(bias, params)
    qdq.insert_constant(model, node(model, "add"), 1, integers, params)
    check(model)
    np.testing.assert_array_equal(oracle(model, {"x": np.zeros(2, np.float32)})["y"], dequantize(integers, params))


def test_quantized_values_reads_what_insert_wrote() -> None:
    model = network("g (float[1,9] x) => (float[1,9] y) { a = Neg(x)  y = Identity(a) }", OPSET)
    assert not is_quantized(model)
    qdq.insert(model, value(model, "a"), PARAMS[0])
    qdq.insert(model, value(model, "x"), PARAMS[2])
    assert is_quantized(model)
    found = qdq.quantized_values(model)
    assert found.keys() == {"a", "x"}
    assert (found["a"][0], found["a"][1]) == (PARAMS[0].scale, PARAMS[0].zero_point)
    assert (found["x"][0], found["x"][1]) == (PARAMS[2].scale, PARAMS[2].zero_point)


@pytest.mark.parametrize("all_readers", [True, False])
@pytest.mark.parametrize("params", PARAMS)
def test_a_scale_spread_over_channels_gives_the_same_numbers(params, all_readers: bool) -> None:
    model = network(
        "g (float[1,3,8,8] x) => (float[1,3,8,8] y, float[1,3,8,8] z) { a = Neg(x)  y = Neg(a)  z = Abs(a) }", OPSET
    )
    inputs = feed(model)
    dequantized = qdq.insert(model, value(model, "a"), params)
    before = oracle(model, inputs)
    readers = [use for use in dequantized.uses() if all_readers or use.node.op_type == "Abs"]
    qdq.spread(model, dequantized, 1, readers)
    check(model)
    after = oracle(model, inputs)
    for name in ("y", "z"):
        np.testing.assert_array_equal(after[name], before[name])
    found = [n for n in model.graph if n.op_type == "DequantizeLinear"]
    shapes = sorted(len(queries.dims_or_raise(v)) for n in found for v in n.inputs[1:])
    assert shapes == ([1, 1] if all_readers else [0, 0, 1, 1])
    for spread in found[-1:]:
        assert queries.constant(spread.inputs[1]).tolist() == [float(params.scale)] * 3


def test_only_a_dequantized_value_can_be_spread() -> None:
    model = network("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { a = Neg(x)  y = Neg(a) }", OPSET)
    with pytest.raises(ValueError, match="a is no dequantized value"):
        qdq.spread(model, value(model, "a"), 1, [])
