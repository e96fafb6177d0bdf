"""Half the file, the same network: what is stored or computed in 16 bits and what must not be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.graph.queries import weight_bytes
from fewbits.numerics import sqnr_db
from fewbits.passes.to_half import compute_fp16, store_half
from models import NETWORKS, check, conv_relu_conv, f32, feed, network, node, on_onnxruntime, oracle

# A rounding to 11 significant bits leaves about 73 dB; a few layers of them more than 45 dB. A doubled scale: 0 dB.
FP16_DB = 45.0
BF16_DB = 30.0


def agree(model: ir.Model, half: ir.Model, least_db: float) -> None:
    check(half)
    for old, new in zip(
        (*model.graph.inputs, *model.graph.outputs), (*half.graph.inputs, *half.graph.outputs), strict=True
    ):
        assert (new.name, new.dtype) == (old.name, ir.DataType.FLOAT)
    inputs = feed(model)
    truth = oracle(model, inputs)
    for run in (oracle, on_onnxruntime):
        outputs = run(half, inputs)
        for name, array in truth.items():
            assert outputs[name].dtype == np.float32
            assert sqnr_db(array, outputs[name]) > least_db, run


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("convert", "least_db"),
    [
        (compute_fp16, FP16_DB),
        (lambda m: store_half(m, ir.DataType.FLOAT16), FP16_DB),
        (lambda m: store_half(m, ir.DataType.BFLOAT16), BF16_DB),
    ],
    ids=["compute_fp16", "store fp16", "store bf16"],
)
def test_networks_agree_within_the_format(name: str, convert: Callable[[ir.Model], ir.Model], least_db: float) -> None:
    model = NETWORKS[name]()
    before = ir.to_proto(model).SerializeToString()
    agree(model, convert(model), least_db)
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_stored_weights_need_half_the_bytes(dtype: ir.DataType) -> None:
    model = conv_relu_conv()
    half = store_half(model, dtype)
    weights = {name: model.graph.initializers[name].const_value for name in ("w1", "w2")}
    saved = sum(tensor.nbytes for tensor in weights.values()) // 2
    assert weight_bytes(half) == weight_bytes(model) - saved  # the biases are not worth a Cast
    assert sum(n.op_type == "Cast" for n in half.graph) == 2
    for name, tensor in weights.items():
        stored = half.graph.initializers[f"{name}.half"].const_value
        assert stored.dtype == dtype
        np.testing.assert_array_equal(
            stored.numpy().astype(np.float32), tensor.numpy().astype(dtype.numpy()).astype(np.float32)
        )
        assert name not in half.graph.initializers


def big_weights() -> ir.Model:
    weights = np.random.default_rng(3).normal(size=(12, 12)).astype(np.float32)
    weights[0, 0] = 1e5
    return network(
        """g (float[1,12] x) => (float[1,12] y) {
             [one] h = MatMul(x, w1)  [big] b = MatMul(h, w2)  [two] y = MatMul(b, w1) }""",
        w1=(12, 12),
        w2=weights,
    )


def test_weights_beyond_fp16_stay_fp32() -> None:
    model = big_weights()
    stored = store_half(model, ir.DataType.FLOAT16)
    assert stored.graph.initializers["w2"].dtype == ir.DataType.FLOAT
    assert stored.graph.initializers["w1.half"].dtype == ir.DataType.FLOAT16
    agree(model, stored, FP16_DB)
    computed = compute_fp16(model)
    assert node(computed, "big").inputs[1].dtype == ir.DataType.FLOAT
    assert node(computed, "one").inputs[1].dtype == ir.DataType.FLOAT16
    # BF16 reaches as far as FP32.
    assert "w2.half" in store_half(model, ir.DataType.BFLOAT16).graph.initializers


def test_infinite_weights_are_nobodys_overflow() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[np.triu_indices(8, 1)] = -np.inf
    model = network("g (float[8,8] x) => (float[8,8] y) { a = Add(x, m)  y = Softmax(a) }", m=mask)
    half = compute_fp16(model)
    assert not any(n.op_type != "Cast" and n.outputs[0].dtype == ir.DataType.FLOAT for n in half.graph)
    agree(model, half, FP16_DB)


def test_compute_fp16_leaves_no_float_between_the_borders() -> None:
    model = conv_relu_conv()
    half = compute_fp16(model)
    assert weight_bytes(half) == weight_bytes(model) // 2
    assert [n.op_type for n in half.graph] == ["Cast", "Conv", "Relu", "Conv", "Sigmoid", "Cast"]
    assert half.graph.outputs[0].name == "y"


def test_resize_scales_stay_fp32_and_its_data_does_not() -> None:
    model = network(
        """g (float[1,2,4,4] x) => (float[1,3,8,8] y) {
             [conv] c = Conv(x, w)
             [resize] r = Resize<mode="nearest">(c, , scales)
             [out] y = Relu(r) }""",
        w=(3, 2, 1, 1),
        scales=f32(1, 1, 2, 2),
    )
    half = compute_fp16(model)
    assert node(half, "resize").inputs[2].dtype == ir.DataType.FLOAT
    assert node(half, "resize").inputs[0].dtype == ir.DataType.FLOAT16
    agree(model, half, FP16_DB)


@pytest.mark.parametrize("perm", [[1, 0, 2], [1, 2, 0], [1, 2, 0, 3], [1, 2, 3, 0]])
@pytest.mark.parametrize("before", ["Identity(x)", "Concat<axis=1>(x, x)"])
def test_sequences_turned_batch_first_before_a_layer_run_in_fp16(before: str, perm: list[int]) -> None:
    """ONNX Runtime fuses the product with a transposition in FP16 to what crashes."""
    sizes = (4, 2, 4, 4)[: len(perm)]
    made = ",".join("ABCD"[: len(perm)])
    model = network(
        f"""g (float[{",".join(map(str, sizes))}] x) => (float[{made}] y) {{
            c = {before}  t = Transpose<perm={perm}>(c)  y = MatMul(t, w) }}""",
        w=(sizes[perm[-1]], 3),
    )
    agree(model, compute_fp16(model), 50)


def test_values_that_are_needed_in_both_formats_are_cast_once() -> None:
    model = network(
        """g (float[1,6] x) => (float[1,6] y, float[1,6] z, float[1,6] v) {
             [one] h = MatMul(x, w)
             [sum1] a = CumSum(h, axis)
             [sum2] b = CumSum(h, axis)
             [two] y = MatMul(a, w)
             [three] z = MatMul(a, w)
             [four] v = MatMul(b, w) }""",
        w=(6, 6),
        axis=np.array(1, np.int64),
    )
    half = compute_fp16(model)
    agree(model, half, FP16_DB)
    casts = [n for n in half.graph if n.op_type == "Cast"]
    # x in, h out of FP16 for both sums, a and b back, three outputs: nothing is cast twice.
    assert len(casts) == 7
    assert not any(n.inputs[0].producer() in casts for n in casts)
    assert node(half, "sum1").inputs[0].dtype == ir.DataType.FLOAT


def test_an_output_that_an_fp32_operator_reads_as_well_is_cast_once() -> None:
    model = network(
        """g (float[1,6] x) => (float[1,6] h, float[1,6] y) { [one] h = MatMul(x, w)  [sum] y = CumSum(h, axis) }""",
        w=(6, 6),
        axis=np.array(1, np.int64),
    )
    half = compute_fp16(model)
    agree(model, half, FP16_DB)
    assert sum(n.op_type == "Cast" for n in half.graph) == 2


ODD = {
    "a fill of a size known when it runs": """g (float[N,6] x) => (float[N,6] y) {
        s = Shape(x)  o = ConstantOfShape<value=float[1] {2.5}>(s)  y = Add(x, o) }""",
    "a cast to float": """g (float[1,6] x) => (float[1,6] y) {
        b = Greater(x, w)  f = Cast<to=1>(b)  y = Mul(f, x) }""",
    "a cast from float": """g (float[1,6] x) => (float[1,6] y) {
        i = Cast<to=7>(x)  f = Cast<to=1>(i)  y = Add(f, x) }""",
    "where and comparison": """g (float[1,6] x) => (float[1,6] y) {
        b = Less(x, w)  y = Where(b, x, w) }""",
    "an input that is an output": """g (float[1,6] x) => (float[1,6] x, float[1,6] y) { y = Mul(x, w) }""",
    "a loose constant node": """g (float[1,6] x) => (float[1,6] y) {
        y = Mul(x, w) }""",
    "a range": """g (float[1,6] x) => (float[1,6] y) {
        m = ReduceMax<axes=[1], keepdims=0>(x)  q = Squeeze(m)  e = Add(q, six)  z = Sub(e, q)
        r = Range(zero, z, one)  k = Mul(r, one)  t = ReduceSum(k)  y = Mul(x, t) }""",
    "a branch that reads a value from outside": """g (float[1,6] x) => (float[1,6] y) {
        h = Mul(x, w)
        i = If(yes) <
            then_branch = a () => (float[1,6] t) { t = Relu(h) },
            else_branch = b () => (float[1,6] e) { e = Neg(h) }
        >
        y = Add(i, x) }""",
}


@pytest.mark.parametrize("case", ODD)
def test_odd_corners_of_onnx_stay_valid_in_fp16(case: str) -> None:
    weights = {
        "w": f32(0.5, 1, -1, 0.25, 2, -0.5).reshape(1, 6),
        "six": np.array(5.5, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "yes": np.array(True),
    }
    model = network(ODD[case], **{k: v for k, v in weights.items() if k in ODD[case]})
    if case == "a loose constant node":
        mul = model.graph[0]
        constant = ir.node("Constant", [], {"value": model.graph.initializers["w"].const_value}, name="loose")
        constant.outputs[0].name, constant.outputs[0].type = "k", ir.TensorType(ir.DataType.FLOAT)
        constant.outputs[0].shape = ir.Shape([1, 6])
        model.graph.insert_before(mul, constant)
        mul.replace_input_with(1, constant.outputs[0])
        del model.graph.initializers["w"]
    agree(model, compute_fp16(model), FP16_DB)
