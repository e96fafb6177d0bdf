"""Every operator of ONNX with a float, in every opset that changed it: its FP16 form is valid, runs, and is near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx_cases import Example, examples, operators, versions

from fewbits.engines import TRIALS, Options
from fewbits.errors import EngineError
from fewbits.frontends.onnx import normalise
from fewbits.numerics import FP16
from fewbits.passes.half_io import half_io
from fewbits.passes.rounded import rounded
from fewbits.passes.to_half import compute_fp16

# Of the largest number of an output; FP16 rounds to 1/2048, and a few roundings follow each other.
NEAR = 0.01
# Their examples are random, or whole numbers that a rounding tips over: the graph is checked, not the numbers.
TIPS_OVER = {"Bernoulli", "Multinomial", "DynamicQuantizeLinear", "QuantizeLinear", "NonMaxSuppression", "Dropout"}
TIPS_OVER |= {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# Whole functions inside: held against FP32 in test_passes_to_half.
INSIDE = {"Loop", "If", "Scan", "SequenceMap"}
# ONNX has no example of these (of the last, its own shape inference refuses one before opset 18).
WITHOUT_EXAMPLE = {("GlobalLpPool", 17), ("GlobalLpPool", 22), ("MaxRoiPool", 17), ("MaxRoiPool", 22)}
WITHOUT_EXAMPLE |= {("MeanVarianceNormalization", 17)}


def written(op_type: str, opset: int) -> Iterator[Example]:
    """Operators ONNX has no example of in this opset, or only in sequences."""
    texts = {
        "RandomNormal": "r = RandomNormal<shape=[2,3], dtype=1>()",
        "RandomUniform": "r = RandomUniform<shape=[2,3], dtype=1>()",
        "RandomNormalLike": "r = RandomNormalLike(a)",
        "RandomUniformLike": "r = RandomUniformLike<dtype=1>(a)",
        "Multinomial": "i = Multinomial(a)  f = Cast<to=1>(i)  r = ReduceMean(f)",
        "Optional": "o = Optional(a)  r = OptionalGetElement(o)",
        "SequenceEmpty": "e = SequenceEmpty<dtype=1>()  s = SequenceInsert(e, a)  r = SequenceAt(s, zero)",
        "SequenceConstruct": "s = SequenceConstruct(a, x)  r = SequenceAt(s, zero)",
        "SequenceErase": "s = SequenceConstruct(a, x)  t = SequenceErase(s, zero)  r = SequenceAt(t, zero)",
        "SequenceLength": "s = SequenceConstruct(a, x)  n = SequenceLength(s)  f = Cast<to=1>(n)  r = Mul(a, f)",
        "ConcatFromSequence": "s = SequenceConstruct(a, x)  c = ConcatFromSequence<axis=1>(s)  r = ReduceMean(c)",
    }
    texts |= {
        "CumSum": "r = CumSum(a, zero)",
        "Einsum": 'r = Einsum<equation="ij,ij->ij">(a, x)',
        "Equal": "e = Equal(a, x)  f = Cast<to=1>(e)  r = Mul(a, f)",
        "NonZero": "n = NonZero(a)  r = Cast<to=1>(n)",
        "OptionalHasElement": "o = Optional(a)  h = OptionalHasElement(o)  f = Cast<to=1>(h)  r = Mul(a, f)",
        "SequenceInsert": texts["SequenceEmpty"],
        "Trilu": "r = Trilu(a)",
    }
    if opset < 18:  # where the axes are an attribute
        texts |= {f"Reduce{name}": f"r = Reduce{name}<axes=[1]>(a)" for name in ("L1", "L2", "Mean", "SumSquare")}
        texts |= {f"Reduce{name}": f"p = Abs(a)  r = Reduce{name}<axes=[1]>(p)" for name in ("LogSum", "LogSumExp")}
    texts["SequenceAt"] = texts["SequenceConstruct"]
    if op_type in texts:
        text = f"g (float[2,3] x) => (float[M,N] y) {{ a = Mul(x, one)  {texts[op_type]}  y = Mul(r, one) }}"
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n{text}')
        for name, array in (("one", np.float32(1)), ("zero", np.int64(0))):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        yield Example(op_type, model, {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)})


def every() -> list[tuple[str, int]]:
    pairs = [(op, opset) for op in operators() if op not in INSIDE for opset in versions(op)]
    return [pair for pair in pairs if pair not in WITHOUT_EXAMPLE]


def run(model: ir.Model, feeds: dict[str, Any]) -> dict[str, Any]:
    session = TRIALS.compile(model, Options())
    try:
        kinds = {spec.name: spec.dtype for spec in session.inputs}
        return dict(session.run({name: _as(value, kinds[name]) for name, value in feeds.items()}))
    finally:
        session.close()


def runs(model: ir.Model, feeds: dict[str, Any]) -> dict[str, Any] | None:
    """What ONNX Runtime makes of the original; None where it has no kernel for it."""
    try:
        return run(model, feeds)
    except EngineError:
        return None


@pytest.mark.parametrize(("op_type", "opset"), every(), ids=lambda part: str(part))
def test_fp16_is_valid_runs_and_is_near(op_type: str, opset: int) -> None:
    tried = 0
    for example in (*examples(op_type, opset), *written(op_type, opset)):
        tried += 1
        model = normalise(ir.from_proto(example.model))
        # Numbers that FP16 holds: what an input loses before the operator reads it is not the question here.
        feeds = {name: _held(value) for name, value in example.feeds.items()}
        truth = runs(ir.from_proto(example.model), feeds)
        half = compute_fp16(model)
        outputs = [(v.name, v.dtype) for v in half.graph.outputs]
        assert outputs == [(v.name, v.dtype) for v in model.graph.outputs], example.name
        for made in (half, half_io(half.clone()), rounded(half)):
            onnx.checker.check_model(ir.to_proto(made), full_check=True)
        if truth is not None:
            got = run(half, feeds)
            if op_type not in TIPS_OVER:
                near(truth, got, example.name)
    assert tried, f"ONNX has no example of {op_type} in opset {opset}: write one"


def near(truth: dict[str, Any], got: dict[str, Any], name: str) -> None:
    for output, array in truth.items():
        for one, other in zip(_arrays(array), _arrays(got[output]), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype), name
            if one.dtype.kind != "f":
                np.testing.assert_array_equal(one, other, err_msg=name)
                continue
            finite = np.abs(one) <= FP16.max  # what lies beyond is for the hazards to see
            largest = max(float(np.abs(one[finite]).max(initial=0)), 1e-3)
            np.testing.assert_allclose(other[finite], one[finite], rtol=0, atol=NEAR * largest, err_msg=name)


def _held(value: Any) -> Any:
    if isinstance(value, list):
        return [_held(part) for part in value]
    with np.errstate(over="ignore"):
        return value.astype(np.float16).astype(np.float32) if getattr(value, "dtype", None) == np.float32 else value


def _as(value: Any, kind: np.dtype[Any]) -> Any:
    return value.astype(kind) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _arrays(value: Any) -> list[np.ndarray]:
    return [np.asarray(part) for part in value] if isinstance(value, list) else [np.asarray(value)]
