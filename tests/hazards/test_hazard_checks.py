"""Each check by itself: what it says, what it leaves alone, and the verdict for BF16."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.data import Sample
from fewbits.hazards import Extremes, Finding, check, survey, unsafe_nodes
from fewbits.hazards.confirm import half_run
from fewbits.hazards.integers import counts_to
from fewbits.hazards.observe import observe
from fewbits.numerics import BF16, FP16, loss
from fewbits.passes.to_half import compute_fp16, store_half
from fewbits.progress import Progress
from models import f32, i64, network


def one(found: tuple[Finding, ...], kind: str) -> Finding:
    (finding,) = [f for f in found if f.check == kind]
    return finding


def test_what_a_format_loses_of_an_array() -> None:
    found = loss(f32(1e5, 1e-9, 1e-5, 1, 0, -np.inf), FP16)
    assert (found.over, found.lost, found.subnormal) == (0.2, 0.2, 0.2)
    assert found.peak == pytest.approx(1e5)
    assert found.least == pytest.approx(1e-9)
    assert loss(f32(1e5, 1e-9), BF16).over == loss(f32(1e5, 1e-9), BF16).lost == 0
    assert loss(f32(65519.0), FP16).over == 0 < loss(f32(65520.0), FP16).over
    assert loss(f32(0, 0), FP16).error == 0
    assert loss(np.full(9, 1e-9, np.float32), FP16).error == 1


def test_loss_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.geomspace(1e-9, 1e5, 1000).astype(np.float32)
    whole = loss(array, FP16)
    monkeypatch.setattr("fewbits.numerics.losses._BLOCK", 7)
    parts = loss(array, FP16)
    assert (parts.over, parts.lost, parts.subnormal, parts.peak, parts.least) == (
        *(whole.over, whole.lost, whole.subnormal, whole.peak, whole.least),
    )
    assert parts.error == pytest.approx(whole.error, rel=1e-9)
    assert whole.over > 0 < whole.lost


def test_shares_stand_in_the_sentence() -> None:
    weights = np.full((4, 5), 0.5, np.float32)
    weights[0, 0] = 2e5
    found = one(check(network("g (float[1,4] x) => (float[1,5] y) { [m] y = MatMul(x, w) }", w=weights)), "constants")
    assert (found.node, found.value, found.fp16, found.bf16) == ("m", "w", "certain", None)
    assert "5.00% of w" in found.reason
    assert found.verdict == "unsafe in FP16, safe in BF16"
    assert found.level == "certain"


def test_a_few_lost_weights_are_no_finding() -> None:
    weights = np.ones((8, 8), np.float32)
    weights[:, 0] = 1e-12
    assert check(network("g (float[1,8] x) => (float[1,8] y) { y = MatMul(x, w) }", w=weights)) == ()


def test_bounds_and_infinite_masks_are_left_alone_and_large_masks_are_only_possible() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) { c = Clip(x, low, high)  [mask] m = Add(c, far)  y = Softmax(m) }"
    bounds = {"low": np.array(-3e38, np.float32), "high": np.array(3e38, np.float32)}
    assert check(network(text, **bounds, far=f32(0, 0, -np.inf, 0))) == ()
    found = one(check(network(text, **bounds, far=f32(0, 0, -1e9, 0))), "constants")
    assert (found.node, found.fp16) == ("mask", "possible")


@pytest.mark.parametrize(
    ("text", "weights", "level"),
    [
        ("[n] y = LayerNormalization<axis=1, epsilon=1e-12>(x, one)", {"one": np.ones(4, np.float32)}, "possible"),
        ("a = Abs(x)  [n] m = Max(a, eps)  y = Div(x, m)", {"eps": f32(1e-10)}, "possible"),
        ("a = Abs(x)  [n] m = Clip(a, eps)  y = Div(x, m)", {"eps": np.array(1e-10, np.float32)}, "possible"),
        ("a = Abs(x)  [n] m = Add(a, eps)  y = Log(m)", {"eps": f32(1e-10)}, "possible"),
        ("a = Abs(x)  [n] m = Add(a, eps)  y = Pow(m, p)", {"eps": f32(1e-10), "p": f32(-0.5)}, "possible"),
        ("a = Abs(x)  [n] m = Add(a, eps)  s = Sqrt(m)  y = Div(x, s)", {"eps": f32(1e-5)}, "information"),
        ("[n] m = Add(x, eps)  y = Mul(x, m)", {"eps": f32(1e-10)}, None),
    ],
)
def test_epsilons(text: str, weights: dict[str, np.ndarray], level: str | None) -> None:
    model = network(f"g (float[1,4] x) => (float[1,4] y) {{ {text} }}", **weights)
    found = [f for f in check(model) if f.check == "epsilon"]
    assert [(f.node, f.fp16, f.bf16) for f in found] == ([] if level is None else [("n", level, None)])


def test_an_epsilon_beside_numbers_fp16_holds_is_information() -> None:
    model = network(
        "g (float[1,4] x) => (float[1,4] y) { a = Abs(x)  [n] m = Add(a, eps)  y = Div(x, m) }", eps=f32(1e-10)
    )
    assert one(check(model, {"a": Extremes(0.5, 2)}), "epsilon").fp16 == "information"
    assert one(check(model, {"a": Extremes(0, 2)}), "epsilon").fp16 == "certain"
    assert unsafe_nodes(check(model, {"a": Extremes(0.5, 2)})) == frozenset()


def test_a_batch_norm_without_variance() -> None:
    text = """g (float[1,2,3] x) => (float[1,2,3] y) {
        [n] y = BatchNormalization<epsilon=1e-12>(x, s, b, m, v) }"""
    parts = {"s": f32(1, 1), "b": f32(0, 0), "m": f32(0, 0)}
    assert one(check(network(text, **parts, v=f32(1, 1e-12))), "epsilon").fp16 == "certain"
    assert one(check(network(text, **parts, v=f32(1, 0.5))), "epsilon").fp16 == "information"


@pytest.mark.parametrize("op", ["Softplus", "Mish", "ReduceLogSumExp"])
def test_exponentials_inside_one_operator_depend_on_the_engine(op: str) -> None:
    model = network(f"g (float[1,4] x) => (float[1,N] y) {{ [e] y = {op}(x) }}", opset=18)
    assert one(check(model), "exponentials").fp16 == "possible"
    assert one(check(model, {"x": Extremes(-30, 30)}), "exponentials").fp16 == "possible"
    assert check(model, {"x": Extremes(-30, 5)}) == ()


def test_mean_of_squares_minus_square_of_mean_is_bad_in_both_formats() -> None:
    model = network(
        """g (float[1,8] x) => (float[1,1] y) {
             s = Mul(x, x)  a = ReduceMean<axes=[1]>(s)  m = ReduceMean<axes=[1]>(x)  q = Mul(m, m)
             [difference] y = Sub(a, q) }"""
    )
    (found,) = [f for f in check(model, {"x": Extremes(0, 1)}) if f.check == "variance"]
    assert (found.node, found.fp16, found.bf16) == ("difference", "possible", "possible")
    assert unsafe_nodes([found], "bf16") == {"difference", *found.keep}


@pytest.mark.parametrize(
    ("op", "low", "total", "level"),
    [("ReduceSum", 0, 3e4, "information"), ("ReduceSum", -1, 3e4, "possible"), ("ReduceSum", 0, 1e5, "certain")],
)
def test_sums_by_their_partial_sums(op: str, low: float, total: float, level: str) -> None:
    model = network("g (float[1,100000] x) => (float[1,1] y) { [s] y = ReduceSum(x, axis) }", axis=i64(1))
    found = one(check(model, {"x": Extremes(low, 1), "y": Extremes(0, total)}), "sums")
    assert (found.node, found.number, found.fp16) == ("s", 100000, level)


def test_long_products_are_information() -> None:
    model = network("g (float[1,4096] x) => (float[1,4] y) { [m] y = MatMul(x, w) }", w=(4096, 4))
    found = one(check(model), "sums")
    assert (found.node, found.number, found.fp16, found.keep) == ("m", 4096, "information", ())


def test_bf16_counts_to_256_and_fp16_to_2048() -> None:
    assert (counts_to(BF16), counts_to(FP16)) == (256, 2048)
    for limit, verdict in ((200.0, None), (1000.0, (None, "possible")), (5001.0, ("possible", "possible"))):
        table = np.arange(limit, dtype=np.float32)
        model = network(
            f"g (float[1,{table.size}] x) => (float[1,{table.size}] y) {{ [offset] y = Add(x, grid) }}", grid=table
        )
        found = [f for f in check(model) if f.check == "integers"]
        assert [(f.node, f.fp16, f.bf16) for f in found] == ([] if verdict is None else [("offset", *verdict)])


def test_an_index_seen_at_300_is_bad_in_bf16_only() -> None:
    model = network("g (float[4] x) => (float[4,2] y) { [i] c = Cast<to=7>(x)  y = Gather(t, c) }", t=(400, 2))
    found = one(check(model, {"x": Extremes(0, 300)}), "integers")
    assert (found.fp16, found.bf16, found.level) == (None, "certain", "certain")
    assert unsafe_nodes([found]) == frozenset()
    assert unsafe_nodes([found], "bf16") == {"i"}


def test_a_range_of_floats() -> None:
    model = network(
        "g (float[1,3000] x) => (float[1,3000] y) { [r] k = Range(zero, end, one)  [add] y = Add(x, k) }",
        zero=np.array(0, np.float32),
        end=np.array(3000, np.float32),
        one=np.array(1, np.float32),
    )
    found = one(check(model), "integers")
    assert (found.node, found.fp16, found.bf16) == ("r", "possible", "possible")
    assert "add" in found.keep


@pytest.mark.parametrize(
    ("peak", "level"),
    [(7e4, "certain"), (3e4, "possible"), (1e4, None), (1e-3, None), (1e-6, "possible"), (1e-9, "certain")],
)
def test_ranges_by_their_peak(peak: float, level: str | None) -> None:
    model = network("g (float[1,4] x) => (float[1,4] y) { [a] h = Neg(x)  [b] y = Tanh(h) }")
    found = [f for f in check(model, {"h": Extremes(-peak, 0)}) if f.check == "ranges"]
    assert [(f.node, f.fp16, f.bf16, f.keep) for f in found] == (
        [] if level is None else [("a", level, None, ("a", "b"))]
    )


def test_values_made_of_a_large_one_count_to_its_finding() -> None:
    model = network("g (float[1,4] x) => (float[1,4] y) { [a] h = Neg(x)  [b] i = Abs(h)  [c] y = Tanh(i) }")
    found = one(check(model, {"h": Extremes(-1e5, 0), "i": Extremes(0, 1e5)}), "ranges")
    assert (found.node, found.keep) == ("a", ("a", "b", "c"))


def test_observe_sees_all_samples_and_skips_what_is_infinite_anyway() -> None:
    model = network("g (float[1,3] x) => (float[1,3] y) { r = Relu(x)  l = Log(r)  y = Tanh(l) }")
    seen = observe(model, [Sample("a", {"x": f32(1, -2, 3)[None]}), Sample("b", {"x": f32(0, 0, 9)[None]})])
    assert seen["x"] == (-2, 9)
    assert seen["r"] == (0, 9)
    assert "l" not in seen


def test_the_run_rounds_between_operators_and_names_the_first_to_overflow() -> None:
    model = network(
        "g (float[1,2] x) => (float[1,2] y) { [a] h = Mul(x, k)  [b] i = Mul(h, k)  [c] y = Div(i, k) }", k=f32(300)
    )
    run = half_run(model, [Sample("s", {"x": f32(1, 2)[None]})])
    assert run.first_wild is not None
    assert (run.first_wild.node, run.first_wild.wild) == ("b", 2)
    assert not run.survives
    assert half_run(model, [Sample("s", {"x": f32(0.01, 0.02)[None]})]).survives
    assert half_run(model, [Sample("s", {"x": f32(1, 2)[None]})], keep={"a", "b", "c"}).survives


def test_what_no_check_explains_is_a_finding_of_the_run() -> None:
    model = network("g (float[1,2] x) => (float[1,2] y) { [a] h = Mul(x, k)  [b] y = Mul(h, k) }", k=f32(300))
    found = survey(model, [Sample("s", {"x": f32(1, 2)[None]})], Progress(), given=False)
    assert [(f.check, f.node, f.fp16, f.confirmed) for f in found.findings] == [("run", "b", "certain", True)]
    assert found.mixed is not None
    assert found.mixed.survives


def test_kept_nodes_keep_their_weights_whole() -> None:
    model = network(
        "g (float[1,16] x) => (float[1,16] y) { [a] h = MatMul(x, v)  [b] y = MatMul(h, w) }", v=(16, 16), w=(16, 16)
    )
    half = store_half(model, ir.DataType.FLOAT16, keep={"b"})
    assert "w" in half.graph.initializers
    assert "v.half" in half.graph.initializers
    mixed = compute_fp16(model, keep={"b"})
    assert [n.op_type for n in mixed.graph] == ["Cast", "MatMul", "Cast", "MatMul"]
    assert mixed.graph.outputs[0].dtype == ir.DataType.FLOAT
