"""What an edit adds gives way to the names that were there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from fewbits.engines import ENGINES, Engine, Options
from fewbits.graph.edits import add_initializer
from fewbits.graph.names import unique_names
from fewbits.quantization.apply import apply
from fewbits.quantization.plan import plan
from fewbits.quantization.recipe import Recipe
from models import network


def test_additions_are_renamed_and_the_models_own_names_are_kept() -> None:
    model = network("g (float[1,4] x) => (float[1,4] y) { [n] w = Neg(x)  [m] y = Relu(w) }")
    with unique_names(model):
        added = add_initializer(model, "w", np.ones(4, np.float32))
        product = ir.node("Mul", [model.graph[0].outputs[0], added], name="n")
        product.outputs[0].name = "y"
        model.graph.insert_after(model.graph[0], product)
        model.graph[2].replace_input_with(0, product.outputs[0])
    assert [node.name for node in model.graph] == ["n", "n_1", "m"]
    assert [node.outputs[0].name for node in model.graph] == ["w", "y_1", "y"]
    assert list(model.graph.initializers) == ["w_1"]
    session = ENGINES["onnxruntime"].compile(model, Options())
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(-x, 0))


def test_a_name_that_was_freed_may_be_taken() -> None:
    """A rewrite that puts a new node in the place of an old one keeps the value's name."""
    model = network("g (float[1,4] x) => (float[1,4] y) { [n] a = Neg(x)  [m] y = Relu(a) }")
    with unique_names(model):
        old = model.graph[0]
        new = ir.node("Abs", [old.inputs[0]], name="n")
        model.graph.insert_before(old, new)
        old.outputs[0].replace_all_uses_with(new.outputs[0])
        model.graph.remove(old, safe=True)
        new.outputs[0].name = "a"
    assert [(node.name, node.outputs[0].name) for node in model.graph] == [("n", "a"), ("m", "y")]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
@pytest.mark.parametrize(
    ("value", "node"),
    [
        *((f"{base}{suffix}", "n") for base in "xwb" for suffix in ("_scale", "_zero_point", "_quantized", "_scale_1")),
        ("x_dequantized", "n"),
        ("w_quantized_dequantized", "n"),
        ("h", "x_QuantizeLinear"),
        ("h", "x_DequantizeLinear"),
        ("h", "w_quantized_DequantizeLinear"),
    ],
)
def test_a_model_may_use_the_names_quantization_would_use(value: str, node: str, engine: Engine) -> None:
    model = network(
        f"""g (float[1,16] x) => (float[1,16] y) {{
              [{node}] {value} = Gemm(x, w, b) [r] q = Relu({value}) [z] y = Gemm(q, v, b) }}""",
        w=(16, 16),
        v=(16, 16),
        b=(16,),
    )
    names = {v.name: (-4.0, 4.0) for n in model.graph for v in n.outputs} | {"x": (-4.0, 4.0)}
    made = apply(model, plan(model, names, Recipe(method="minmax"), engine.capability))
    x = np.random.default_rng(0).standard_normal((1, 16)).astype(np.float32)
    run = ENGINES["onnxruntime"]
    exact, rounded = (run.compile(m, Options()).run({"x": x})["y"] for m in (model, made))
    assert np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()
    assert {v.name for n in model.graph for v in n.outputs} <= {v.name for n in made.graph for v in n.outputs}
