"""``calibrate --correct``: what is asked for is made, told, and written into the recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from small import Net, Run, build_net, load

import fewbits
from fewbits import DataOptions
from fewbits.calibration.statistics import Statistics
from fewbits.quantization.recipe import Recipe
from fewbits.quantization.records import Calibrated

METHODS = ("mse", "minmax", "percentile", "entropy")


def outputs(model: Path, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def sqnr_db(truth: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.square(truth).sum() / np.square(truth - got).sum()))


def corrected(net: Net, folder: Path, correct: str, method: str = "minmax", **options: object) -> Calibrated:
    return fewbits.calibrate(
        net.model,
        DataOptions(data=net.calibration),
        out=folder / "int8.onnx",
        method=method,
        correct=correct,
        **options,
    )


def quantized_weights(model: Path) -> dict[str, np.ndarray]:
    """The integers each convolution or linear layer multiplies with, by the layer's name."""
    graph = onnx.load(model).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {node.name: arrays[sources[node.input[1]]] for node in graph.node if node.op_type in ("Conv", "Gemm")}


@pytest.mark.parametrize(
    ("correct", "method", "names", "tried"),
    [
        ("none", "minmax", (), set()),
        ("bias", "minmax", ("bias",), set()),
        ("bias-measured", "minmax", ("bias-measured",), set()),
        ("equalize", "minmax", ("equalize",), set()),
        ("equalize,bias", "mse", ("equalize", "bias"), set()),
        ("rounding,bias", "minmax", ("rounding", "bias"), {"minmax+bias", "minmax+rounding+bias"}),
        ("rounding", "minmax", ("rounding",), {"minmax", "minmax+rounding"}),
        (
            "equalize,rounding,bias-measured",
            "minmax",
            ("equalize", "rounding", "bias-measured"),
            {"minmax+equalize+bias-measured", "minmax+equalize+rounding+bias-measured"},
        ),
    ],
)
def test_corrections_are_made_and_written_down(
    correct: str, method: str, names: tuple[str, ...], tried: set[str], net: Net, tmp_path: Path
) -> None:
    made = corrected(net, tmp_path, correct, method)
    assert (made.recipe.method, made.recipe.corrections) == (method, names)
    assert Recipe.from_toml(tmp_path / "int8.recipe.toml") == made.recipe
    assert made.sqnr_db.keys() == tried
    onnx.checker.check_model(onnx.load(made.out), full_check=True)
    images = load(net.test)["x"][:40]
    assert sqnr_db(outputs(net.model, images), outputs(made.out, images)) > 20
    assert set(made.files) == set(tmp_path.iterdir())
    statistics = Statistics.load(tmp_path / "int8.statistics.npz")
    assert set(made.plan.values) <= set(statistics.values)


def test_auto_settles_on_one_method_and_tells_what_each_reached(net: Net, tmp_path: Path) -> None:
    made = corrected(net, tmp_path, "auto", "auto")
    assert made.sqnr_db.keys() == {*(f"{method}+bias" for method in METHODS), "mse"}
    assert made.recipe.method in METHODS
    assert made.recipe.corrections in ((), ("bias",))
    assert not made.recipe.undecided


def test_rounding_learns_other_weights_on_the_same_scales(net: Net, tmp_path: Path) -> None:
    plain = corrected(net, tmp_path / "plain", "bias")
    learned = corrected(net, tmp_path / "learned", "rounding,bias")
    assert plain.plan == learned.plan
    before, after = quantized_weights(plain.out), quantized_weights(learned.out)
    assert before.keys() == after.keys() == learned.plan.weights.keys()
    for name, levels in before.items():
        assert 0.02 < np.mean(levels != after[name]) < 0.9, name
        assert after[name].dtype == np.int8
        assert np.abs(after[name].astype(int)).max() == np.abs(levels.astype(int)).max()


def test_the_same_from_a_statistics_file(net: Net, tmp_path: Path) -> None:
    """Samples are read again only for what needs them."""
    kept = tmp_path / "kept.npz"
    first = corrected(net, tmp_path / "one", "equalize,rounding,bias", statistics=kept)
    assert kept.is_file()
    again = corrected(net, tmp_path / "two", "equalize,rounding,bias", statistics=kept)
    assert first.out.read_bytes() == again.out.read_bytes()
    assert first.sqnr_db == again.sqnr_db


def test_auto_equalizes_a_network_with_outliers(net: Net, head: np.ndarray, tmp_path: Path) -> None:
    """A channel a hundred times louder, whose readers listen to it a hundred times less: the same network."""

    def doctor(weights: dict[str, np.ndarray]) -> None:
        for channel in (5, 40):
            weights["block0.scale"][channel % 32] *= 100
            weights["block0.bias"][channel % 32] *= 100
            weights["block1.w"][:, channel % 32] /= 100

    path = tmp_path / "loud.onnx"
    onnx.save(build_net(head, doctor=doctor), path)
    images = load(net.test)["x"][:40]
    truth = outputs(path, images)
    np.testing.assert_allclose(truth, outputs(net.model, images), rtol=1e-3, atol=1e-3)
    reached = {}
    for correct in ("none", "auto"):
        data, out = DataOptions(data=net.calibration), tmp_path / correct / "int8.onnx"
        made = fewbits.calibrate(path, data, out=out, method="minmax", correct=correct)
        reached[correct] = sqnr_db(truth, outputs(out, images))
    assert made.recipe.corrections[0] == "equalize"
    assert made.sqnr_db.keys() >= {"minmax", "minmax+bias"}
    assert reached["auto"] > reached["none"] + 10


@pytest.mark.parametrize(
    ("correct", "said"),
    [("best", "unknown correction 'best'"), ("bias,bias-measured", "bias and bias-measured correct the same thing")],
)
def test_what_cannot_be_corrected_is_refused(correct: str, said: str, net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli("calibrate", net.model, "--data", net.calibration, "-o", tmp_path / "o.onnx", "--correct", correct)
    assert ran.code == 2
    assert said in ran.err
    assert "--correct" in ran.err
    assert not list(tmp_path.iterdir())


def test_the_record_lists_corrections_and_what_each_variant_reached(net: Net, cli: Run, tmp_path: Path) -> None:
    options = ("--method", "minmax", "--correct", "rounding,bias")
    ran = cli("calibrate", net.model, "--data", net.calibration, "-o", tmp_path / "o.onnx", "--json", *options)
    assert ran.code == 0, ran.err
    assert ran.json["corrections"] == ["rounding", "bias"]
    assert ran.json["sqnr_db"].keys() == {"minmax+bias", "minmax+rounding+bias"}
    ran = cli("calibrate", net.model, "--data", net.calibration, "-o", tmp_path / "p.onnx", *options)
    assert "rounding" in ran.out
