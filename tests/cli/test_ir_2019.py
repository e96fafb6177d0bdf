"""``calibrate --ir-version``: the calibrated network as an IR of 2019, from the command line on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small import Net, Run, load

from fewbits.engines import ENGINES, Options
from fewbits.frontends import legacy_ir, onnx
from fewbits.frontends.legacy_ir import document
from fewbits.graph.quantized import is_quantized


@pytest.fixture(scope="module")
def written(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import fewbits

    out = tmp_path_factory.mktemp("ir") / "small.xml"
    data = fewbits.DataOptions(data=net.calibration)
    fewbits.calibrate(net.model, data, out=out, method="minmax", correct="none", ir_version=6)
    return out


def test_it_writes_the_ir_and_says_that_the_file_does_not_shrink(net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "int8.xml"
    ran = cli("calibrate", net.model, "--data", net.calibration, "--ir-version", 6, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert "the weights in int8.bin stay FP32" in ran.err
    assert ran.json["layers"]["I8"] > 4
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"int8.xml", "int8.bin", "int8.statistics.npz", "int8.recipe.toml"}
    # Less than the ONNX file by its batch norms alone, which are folded.
    assert (tmp_path / "int8.bin").stat().st_size > 0.98 * net.model.stat().st_size - 4096


def test_every_layer_has_its_statistics(written: Path) -> None:
    net = document.read(written)
    layers = [layer for layer in net.layers if layer.type != "Const"]
    assert {layer.name for layer in layers} == set(net.statistics)
    [image] = (layer for layer in net.layers if layer.type == "Input")
    for layer in layers:
        assert len(net.statistics[layer.name].minimum) == layer.outputs[0].dims[1]
    assert net.statistics[image.name].minimum[0] < -3


def test_statistics_are_the_extremes_of_the_calibration_set(written: Path, net: Net) -> None:
    images = load(net.calibration)["x"]
    found = document.read(written).statistics["image"]
    np.testing.assert_allclose(found.minimum, images.min((0, 2, 3)), atol=2e-2)
    np.testing.assert_allclose(found.maximum, images.max((0, 2, 3)), atol=2e-2)


def outputs(model: object, net: Net) -> np.ndarray:
    session = ENGINES["onnxruntime"].compile(model, Options())  # type: ignore[arg-type]
    images = load(net.test)["x"]
    found = np.concatenate([session.run({"image": image[None]})["logits"].copy() for image in images])
    session.close()
    return found


def test_its_float_part_is_the_original(written: Path, net: Net) -> None:
    expected = outputs(onnx.load(net.model), net)
    found = outputs(legacy_ir.load(written, quantized=False), net)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_its_quantized_part_is_close_to_it(written: Path, net: Net) -> None:
    """About 8 bits: some 30 dB; a wrong scale anywhere would leave a few."""
    model = legacy_ir.load(written)
    assert is_quantized(model)
    expected, found = outputs(onnx.load(net.model), net), outputs(model, net)
    assert 10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()) > 24
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.97
    assert np.abs(found - expected).max() > 0


@pytest.mark.parametrize(
    ("version", "name", "words"),
    [
        (6, "out.onnx", "is no IR - name OUT.xml with -o"),
        (10, "out.xml", "no IR of version 10 is written - one of 5, 6, 7"),
        (0, "out.xml", "no IR of version 0"),
    ],
)
def test_versions_and_names_that_do_not_fit(
    version: int, name: str, words: str, net: Net, cli: Run, tmp_path: Path
) -> None:
    out = tmp_path / name
    ran = cli("calibrate", net.model, "--data", net.calibration, "--ir-version", version, "-o", out)
    assert ran.code == 2
    assert "--ir-version" in ran.last
    assert words in ran.last
    assert list(tmp_path.iterdir()) == []


def test_an_operator_without_a_layer_is_refused_before_any_work(cli: Run, net: Net, tmp_path: Path) -> None:
    import onnx as library

    model = library.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
           g (float[1,3,32,32] image) => (float[1,3,32,32] y) { [strange] y = Erf(image) }"""
    )
    library.save(model, tmp_path / "erf.onnx")
    out = tmp_path / "out.xml"
    ran = cli("calibrate", tmp_path / "erf.onnx", "--data", net.calibration, "--ir-version", 6, "-o", out)
    assert ran.code == 2
    assert "node strange (Erf)" in ran.last
    assert not out.exists()
