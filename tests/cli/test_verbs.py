"""Each verb does what it says, on a small network with data it can read."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino
import pytest
from small import CALIBRATION, ENGINES, Net, Run, build_net, check_measurement, load

from fewbits.cli import SUMMARIES, VERBS


def outputs(model: Path, images: np.ndarray) -> np.ndarray:
    """What a file computes, image by image, on the engine that reads it; FP32 execution."""
    if model.suffix == ".onnx":
        session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: image[None]})[0] for image in images]
    else:
        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        read = core.read_model(str(model))
        read.reshape([1, *images.shape[1:]])
        compiled = core.compile_model(read, "CPU")
        rows = [np.array(compiled(image[None])[0]) for image in images]
    return np.concatenate(rows)


def sqnr_db(expected: np.ndarray, got: np.ndarray) -> float:
    noise = float(np.square(expected - got).sum())
    return float(10 * np.log10(np.square(expected).sum() / noise)) if noise else np.inf


def rt_info(model: Path, key: str) -> dict[str, str]:
    """Layer name → the attribute of that name in an IR's ``rt_info``."""
    found = {}
    for layer in ET.parse(model).getroot().iter("layer"):
        for attribute in layer.iterfind("rt_info/attribute"):
            if attribute.get("name") == key:
                # A layer with bias becomes two in the IR: NAME/WithoutBiases and the sum.
                found[layer.get("name", "").removesuffix("/WithoutBiases")] = attribute.get("value", "")
    return found


# --- help -------------------------------------------------------------------------------------------------------


def test_the_list_of_verbs_is_said_once_each(cli: Run) -> None:
    ran = cli("--help")
    assert ran.code == 0
    assert [verb for verb in VERBS if verb not in ran.out] == []
    assert list(SUMMARIES) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_with_an_example(verb: str, cli: Run) -> None:
    ran = cli(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(rf"Example: fewbits {verb} ", ran.out)


def test_the_version_is_that_of_the_package(cli: Run) -> None:
    import fewbits

    assert fewbits.__version__ in cli("--version").out


# --- convert ----------------------------------------------------------------------------------------------------

CONVERTED = {
    "deviations",
    "out",
    "to",
    "size_before",
    "size_after",
    "nodes_before",
    "nodes_after",
    "sqnr_db",
    "max_abs",
    "truth",
}


@pytest.mark.parametrize(
    ("to", "name", "share", "least_db"),
    [
        ("fp32", "out.onnx", 1.0, 100),
        ("fp16", "out.onnx", 0.5, 40),
        ("bf16", "out.onnx", 0.5, 25),
        ("fp32", "out.xml", 1.0, 100),
        ("fp16", "out.xml", 0.5, 40),
        ("bf16", "out.xml", 0.5, 25),
    ],
)
def test_convert(to: str, name: str, share: float, least_db: float, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / name
    ran = cli("convert", net.model, "--to", to, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json.keys() == CONVERTED
    assert (ran.json["to"], ran.json["out"]) == (to, str(out))
    weights = out if name == "out.onnx" else out.with_suffix(".bin")
    assert weights.stat().st_size == pytest.approx(share * net.model.stat().st_size, rel=0.02)
    assert ran.json["size_after"] == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert ran.json["nodes_before"] == len(onnx.load(net.model).graph.node)
    assert ran.json["nodes_after"] == ran.json["nodes_before"] - 4  # the batch norms
    images = load(net.test)["x"][:16]
    assert sqnr_db(outputs(net.model, images), outputs(out, images)) > least_db
    if name == "out.onnx":
        kinds = [node.op_type for node in onnx.load(out).graph.node]
        assert "BatchNormalization" not in kinds
        onnx.checker.check_model(str(out), full_check=True)
    assert {file.name for file in tmp_path.iterdir()} == {"out.onnx"} if name == "out.onnx" else {"out.xml", "out.bin"}


def test_convert_fixes_sizes(net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert cli("convert", net.model, "-o", out, "--input-shape", "image:4,3,32,32").code == 0
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in dims] == [4, 3, 32, 32]


@pytest.mark.parametrize("name", ["out.onnx", "out.xml"])
def test_convert_replaces_an_older_file_whole(name: str, net: Net, cli: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text("older")
    assert cli("convert", net.model, "-o", tmp_path / name).code == 0
    assert outputs(tmp_path / name, load(net.test)["x"][:1]).shape == (1, 10)


def test_names_of_layers_survive(net: Net, cli: Run, tmp_path: Path) -> None:
    """People know their layers by the names they gave them; globs and reports speak of those."""
    assert cli("convert", net.model, "-o", tmp_path / "out.onnx").code == 0
    before = {node.name for node in onnx.load(net.model).graph.node if node.op_type in ("Conv", "Gemm")}
    after = {node.name for node in onnx.load(tmp_path / "out.onnx").graph.node if node.op_type in ("Conv", "Gemm")}
    assert after == before


# --- calibrate --------------------------------------------------------------------------------------------------

CALIBRATED = {"out", "seconds", "peak_rss_bytes", "samples", "method", "layers", "skipped"}


def calibrated(cli: Run, net: Net, out: Path, *options: object) -> Any:
    ran = cli("calibrate", net.model, "--data", net.calibration, "-o", out, "--json", *options)
    assert ran.code == 0, ran.err
    return ran.json


@pytest.mark.parametrize("method", ["auto", "minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("name", ["out.onnx", "out.xml"])
def test_calibrate(method: str, name: str, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / name
    record = calibrated(cli, net, out, "--method", method)
    assert record.keys() >= CALIBRATED
    assert record["out"] == str(out)
    assert record["samples"] == CALIBRATION
    assert record["seconds"] > 0
    assert record["peak_rss_bytes"] > 1 << 20
    assert record["method"] in ("minmax", "percentile", "mse", "entropy")
    assert method in ("auto", record["method"])
    assert record["layers"].keys() == {"I8", "float"}
    assert record["layers"]["I8"] >= 5
    assert record["layers"]["float"] == len(record["skipped"])
    assert all(entry.keys() == {"node", "reason"} and entry["reason"] for entry in record["skipped"])
    assert {Path(file) for file in record["files"]} == set(tmp_path.iterdir())
    data = load(net.test)
    expected, got = outputs(net.model, data["x"]), outputs(out, data["x"])
    assert sqnr_db(expected, got) > 15
    assert (got.argmax(1) == data["y"]).mean() > (expected.argmax(1) == data["y"]).mean() - 0.05


def test_every_node_of_an_int8_model_carries_its_level_or_its_reason(net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    record = calibrated(cli, net, out, "--method", "minmax", "--keep-float", "Gemm")
    levels, reasons = {}, {}
    for node in onnx.load(out).graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        said = {entry.key: entry.value for entry in node.metadata_props}
        assert len({"quantization_level", "quantization_reason"} & said.keys()) == 1, (node.name, said)
        levels[node.name] = said.get("quantization_level")
        reasons[node.name] = said.get("quantization_reason")
    assert set(levels.values()) == {"I8", None}
    assert sum(level == "I8" for level in levels.values()) == record["layers"]["I8"]
    assert {name: why for name, why in reasons.items() if why} == {
        entry["node"]: entry["reason"] for entry in record["skipped"]
    }


def test_the_ir_carries_the_levels_too(net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    record = calibrated(cli, net, out, "--method", "minmax", "--keep-float", "Gemm")
    levels = rt_info(out, "quantization_level")
    assert set(levels.values()) == {"I8"}
    root = ET.parse(out).getroot()
    compute = [
        layer.get("name", "").removesuffix("/WithoutBiases")
        for layer in root.iter("layer")
        if layer.get("type") == "Convolution"
    ]
    assert len(compute) == 4
    assert set(compute) <= set(levels)
    reasons = rt_info(out, "quantization_reason")
    assert reasons.keys().isdisjoint(levels)
    [why] = [entry["reason"] for entry in record["skipped"] if entry["node"] == "head"]
    assert reasons["head"] == why


@pytest.mark.parametrize("glob", ["Gemm", "head", "he*"])
def test_keep_float_keeps_a_layer_and_says_which_rule_did(glob: str, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    record = calibrated(cli, net, out, "--method", "minmax", "--keep-float", glob)
    [skipped] = [entry for entry in record["skipped"] if entry["node"] == "head"]
    assert f"'{glob}'" in skipped["reason"]
    model = onnx.load(out)
    [head] = [node for node in model.graph.node if node.name == "head"]
    producers = {name: node for node in model.graph.node for name in node.output}
    assert producers[head.input[0]].op_type != "DequantizeLinear"
    assert head.input[1] not in producers


def test_keep_float_knows_layers_by_the_names_of_the_file(net: Net, cli: Run, tmp_path: Path) -> None:
    record = calibrated(cli, net, tmp_path / "out.onnx", "--method", "minmax", "--keep-float", "block1/conv")
    assert "block1/conv" in [entry["node"] for entry in record["skipped"]]


def test_keep_float_is_repeatable(net: Net, cli: Run, tmp_path: Path) -> None:
    options = ("--keep-float", "Gemm", "--keep-float", "Conv")
    ran = cli("calibrate", net.model, "--data", net.calibration, "-o", tmp_path / "out.onnx", "--json", *options)
    assert ran.code == 0, ran.err
    assert ran.json["layers"]["I8"] == 0
    assert "nothing was quantized" in ran.err
    images = load(net.test)["x"][:8]
    assert sqnr_db(outputs(net.model, images), outputs(tmp_path / "out.onnx", images)) > 100


def test_statistics_are_written_and_read_again(net: Net, cli: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    options = ("--method", "mse", "--statistics", kept)
    calibrated(cli, net, tmp_path / "one" / "out.onnx", *options)
    first = kept.read_bytes()
    ran = cli(
        "calibrate", net.model, "--data", net.calibration, "-o", tmp_path / "two" / "out.onnx", "--json", *options
    )
    assert ran.code == 0
    assert not any(entry.startswith("calibration") for entry in ran.err.splitlines()), "the samples were run again"
    assert kept.read_bytes() == first
    assert (tmp_path / "one" / "out.onnx").read_bytes() == (tmp_path / "two" / "out.onnx").read_bytes()


def test_statistics_of_another_model_are_collected_anew(net: Net, head: np.ndarray, cli: Run, tmp_path: Path) -> None:
    def widen(weights: dict[str, np.ndarray]) -> None:
        weights["block0.w"] *= 3

    onnx.save(build_net(head, doctor=widen), tmp_path / "other.onnx")
    kept = tmp_path / "kept.npz"
    calibrated(cli, net, tmp_path / "out.onnx", "--method", "minmax", "--statistics", kept)
    first = kept.read_bytes()
    arguments = ("--data", net.calibration, "-o", tmp_path / "b.onnx", "--method", "minmax", "--statistics", kept)
    ran = cli("calibrate", tmp_path / "other.onnx", *arguments)
    assert ran.code == 0
    assert "warning: " in ran.err
    assert kept.read_bytes() != first


def test_calibration_is_deterministic(net: Net, cli: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        calibrated(cli, net, tmp_path / name / "out.onnx", "--method", "percentile")
    assert (tmp_path / "one" / "out.onnx").read_bytes() == (tmp_path / "two" / "out.onnx").read_bytes()


# --- measure ----------------------------------------------------------------------------------------------------


def test_measure_with_data_compares_models(net: Net, int8: Path, cli: Run) -> None:
    ran = cli("measure", net.model, int8, "--data", net.test, "--json")
    assert ran.code == 0, ran.err
    assert ran.json.keys() == {"host", "models"}
    assert ran.json["host"].keys() == {"cpu", "isa", "cores"}
    models = ran.json["models"]
    paths = (str(net.model), str(int8))
    assert [(m["path"], m["engine"]) for m in models] == list(itertools.product(paths, ENGINES))
    data = load(net.test)
    for entry in models:
        check_measurement(entry)
        assert (entry["device"], entry["precision"], entry["metric"]) == ("CPU", "fp32", "top1")
        assert entry["size_bytes"] == Path(entry["path"]).stat().st_size
        if entry["path"] == str(int8):
            assert entry["executed"]["i8"] > 0.5
        else:
            assert entry["executed"].keys().isdisjoint({"i8", "bf16", "f16"})
        if entry["engine"] == "onnxruntime":
            right = outputs(Path(entry["path"]), data["x"]).argmax(1) == data["y"]
            assert entry["accuracy"] == pytest.approx(right.mean(), abs=1e-9)
    assert models[0]["agreement"] == 1


def test_measure_without_data_has_no_accuracy(int8: Path, cli: Run) -> None:
    ran = cli("measure", int8, "--engine", "openvino", "--json")
    assert ran.code == 0, ran.err
    [entry] = ran.json["models"]
    check_measurement(entry)
    assert (entry["accuracy"], entry["agreement"], entry["metric"]) == (None, None, None)


def test_measure_without_labels_says_agreement(net: Net, int8: Path, cli: Run) -> None:
    arguments = ("--data", net.unlabelled, "--samples", 20, "--engine", "onnxruntime", "--threads", 1, "--json")
    ran = cli("measure", net.model, int8, *arguments)
    assert [entry["metric"] for entry in ran.json["models"]] == ["agreement"] * 2
    assert ran.json["models"][0]["agreement"] == ran.json["models"][0]["accuracy"] == 1


def test_measure_reads_ir(net: Net, cli: Run, tmp_path: Path) -> None:
    assert cli("convert", net.model, "-o", tmp_path / "out.xml").code == 0
    ran = cli("measure", tmp_path / "out.xml", "--data", net.test, "--samples", 10, "--json")
    assert ran.code == 0, ran.err
    [entry] = ran.json["models"]
    assert entry["engine"] == "openvino"
    assert entry["size_bytes"] == sum(file.stat().st_size for file in tmp_path.iterdir())


# --- compare ----------------------------------------------------------------------------------------------------


def test_compare_finds_the_layer_where_damage_begins(net: Net, head: np.ndarray, cli: Run, tmp_path: Path) -> None:
    def damage(weights: dict[str, np.ndarray]) -> None:
        weights["block2.w"] = weights["block2.w"] * np.float32(1.5)

    onnx.save(build_net(head, doctor=damage), tmp_path / "damaged.onnx")
    ran = cli("compare", net.model, tmp_path / "damaged.onnx", "--data", net.calibration, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["reference"], ran.json["other"]) == (str(net.model), str(tmp_path / "damaged.onnx"))
    assert ran.json["samples"] == 16
    layers = ran.json["layers"]
    assert all(
        layer.keys() == {"node", "op", "value", "sqnr_db", "max_abs", "reference_range", "other_range"}
        for layer in [*layers, *ran.json["outputs"]]
    )
    bad = [layer["value"] for layer in layers if layer["sqnr_db"] is not None and layer["sqnr_db"] < 60]
    assert bad[0] == "block2.bn"
    assert all(layer["max_abs"] == 0 for layer in layers[: [x["value"] for x in layers].index("block2.bn")])
    by_noise = sorted(layers, key=lambda layer: np.inf if layer["sqnr_db"] is None else layer["sqnr_db"])
    assert ran.json["worst"][0] == by_noise[0]["node"]
    [output] = ran.json["outputs"]
    assert output["value"] == "logits"


def test_compare_of_fp32_and_int8_covers_every_layer(net: Net, int8: Path, cli: Run) -> None:
    ran = cli("compare", net.model, int8, "--data", net.calibration, "--samples", 8, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["samples"] == 8
    assert ran.json["only_in_reference"] == 0
    noise = [layer["sqnr_db"] for layer in ran.json["layers"]]
    assert all(10 < value < 80 for value in noise)


def test_compare_with_itself_finds_nothing(net: Net, cli: Run) -> None:
    ran = cli("compare", net.model, net.model, "--data", net.test, "--json")
    assert all(layer["max_abs"] == 0 for layer in [*ran.json["layers"], *ran.json["outputs"]])
