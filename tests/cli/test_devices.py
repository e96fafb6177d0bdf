"""``devices``, and what the other verbs do with a device that is not here or cannot run a format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from small import CLASSES, Net, Ran, Run, build_net

FORMATS = {"fp32", "fp16", "bf16", "int8"}
RETIRED = {"MYRIAD": "2022.3 LTS", "NCS1": "2020.3 LTS", "HDDL": "2022.3 LTS", "FPGA": "2020.4", "GNA": "2023.3"}


def refused(ran: Ran, place: str, *words: str) -> None:
    """Exit code 2 with one line that names the place, says why and how to go on."""
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert ran.last.startswith(f"fewbits: {place}: ")
    assert " - " in ran.last
    for word in words:
        assert word in ran.last


# --- devices ----------------------------------------------------------------------------------------------------


def test_json_holds_every_device_and_format(cli: Run) -> None:
    found = cli("devices", "--json").json
    assert {"host", "devices"} <= found.keys()
    assert found["host"].keys() == {"cpu", "isa", "cores"}
    keys = {"device", "format", "level", "reason", "measured", "last_release"}
    assert all(entry.keys() == keys for entry in found["devices"])
    formats: dict[str, set[str]] = {}
    for entry in found["devices"]:
        formats.setdefault(entry["device"], set()).add(entry["format"])
        assert entry["level"] in ("native", "emulated", "storage", "no")
        assert entry["last_release"] == RETIRED.get(entry["device"])
        assert isinstance(entry["measured"], bool)
    assert {"CPU", "GPU", "NPU", "NVIDIA", "AUTO", "HETERO", "MULTI", "CPU AVX2", "CPU Arm", *RETIRED} <= formats.keys()
    assert all(found >= FORMATS for found in formats.values())
    assert {"fp8", "fp4", "fp11", "int16"} <= set().union(*formats.values())


def test_one_device_is_explained(cli: Run) -> None:
    for name in ("MYRIAD", "myriad", "ncs2"):
        ran = cli("devices", "--device", name)
        assert ran.code == 0
        for words in ("FP16 is the only choice", "OpenVINO 2022.3 LTS", "documented, not measured", "--emulate"):
            assert words in ran.out
    assert {entry["device"] for entry in cli("devices", "--device", "gna", "--json").json["devices"]} == {"GNA"}
    assert "FP16 is the only choice" not in cli("devices", "--device", "gna").out


def test_an_unknown_device_is_refused_with_the_list(cli: Run) -> None:
    refused(cli("devices", "--device", "toaster"), "--device", "toaster", *RETIRED, "GPU", "NPU")


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_terminal(columns: int) -> None:
    """Nothing is cut off or broken in a terminal of that width."""
    env = os.environ | {"COLUMNS": str(columns), "TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "fewbits", "devices"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    table = [line for line in text.splitlines() if "native" in line and "current" in line]
    assert len(table) > 15
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    assert "…" not in text


def test_it_is_a_function_too() -> None:
    import fewbits

    table = fewbits.list_devices("hddl-r")
    assert table.asked is not None
    assert (table.asked.name, table.asked.last_release) == ("HDDL", "2022.3 LTS")
    assert fewbits.list_devices().devices[0].name == "CPU"


# --- the legality step ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("MYRIAD", ("2022.3 LTS", "--emulate")),
        ("hddl-r", ("HDDL", "2022.3 LTS", "--emulate")),
        ("HETERO:FPGA,CPU", ("FPGA", "2020.4")),
        ("GNA", ("2023.3", "CPU")),
        ("NPU", ("no engine has", "CPU")),
        ("toaster", ("TOASTER", "CPU")),
    ],
)
@pytest.mark.parametrize("verb", ["choose", "calibrate", "measure", "compare"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_read(
    verb: str, device: str, words: tuple[str, ...], cli: Run, tmp_path: Path
) -> None:
    rest = {
        "choose": ("m.onnx", "--data", "d.npz", "-o", tmp_path / "run"),
        "calibrate": ("m.onnx", "--data", "d.npz", "-o", tmp_path / "o.onnx"),
        "measure": ("m.onnx",),
        "compare": ("m.onnx", "n.onnx", "--data", "d.npz"),
    }[verb]
    ran = cli(verb, *rest, "--device", device)
    refused(ran, "--device", *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        (("--device", "MYRIAD", "--formats", "int8"), "--formats", ("int8", "FP16 models only", "fp16")),
        (("--device", "MYRIAD", "--formats", "fp16,int4"), "--formats", ("int4", "mixed")),
        (("--device", "MYRIAD", "--max-latency-ms", "3"), "--max-latency-ms", ("speed on MYRIAD is unknown",)),
        (("--device", "MYRIAD", "--objective", "throughput"), "--objective", ("speed on MYRIAD is unknown",)),
        (("--device", "CPU"), "--emulate", ("CPU takes more than FP16", "MYRIAD", "HDDL")),
        (("--device", "GNA"), "--emulate", ("GNA takes more than FP16", "MYRIAD")),
        (("--device", "toaster"), "--device", ("toaster", "MYRIAD")),
    ],
)
def test_what_cannot_be_emulated_is_refused_before_anything_is_read(
    options: tuple[str, ...], place: str, words: tuple[str, ...], cli: Run, tmp_path: Path
) -> None:
    ran = cli("choose", "m.onnx", "--data", "d.npz", "-o", tmp_path / "run", "--emulate", *options)
    refused(ran, place, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine-option", "NUM_STREAMS=1"), ("--engine openvino or onnxruntime",)),
        (("--engine", "openvino", "--engine-option", "NUM_STREAMS"), ("KEY=VALUE",)),
        (("--engine", "openvino", "--engine-option", "STREAMS=1"), ("STREAMS", "NUM_STREAMS")),
    ],
)
def test_settings_that_are_none_are_refused(options: tuple[str, ...], words: tuple[str, ...], cli: Run) -> None:
    refused(cli("measure", "m.onnx", *options), "--engine-option", *words)


def test_measure_on_a_virtual_device_with_a_setting(net: Net, cli: Run) -> None:
    options = ("--device", "auto:cpu", "--engine", "openvino", "--engine-option", "NUM_STREAMS=1")
    ran = cli("measure", net.model, *options, "--json")
    assert ran.code == 0, ran.err
    [entry] = ran.json["models"]
    assert (entry["device"], entry["engine"], entry["precision"]) == ("AUTO:CPU", "openvino", "fp32")
    assert entry["executed"]["f32"] > 0.5


def test_choose_on_a_virtual_device(net: Net, cli: Run, tmp_path: Path) -> None:
    data = ("--data", net.test, "--calibration-data", net.calibration, "--samples", 20)
    options = ("--device", "HETERO:CPU", "--formats", "int8", "--method", "minmax")
    ran = cli("choose", net.model, *data, *options, "-o", tmp_path / "run", "--json")
    assert ran.code == 0, ran.err
    assert {e["name"]: e["status"] for e in ran.json["candidates"]} == {
        "openvino-fp32": "measured",
        "openvino-int8": "measured",
    }


# --- emulation --------------------------------------------------------------------------------------------------


def test_emulation_measures_accuracy_and_no_speed(net: Net, cli: Run, tmp_path: Path) -> None:
    data = ("--data", net.test, "--calibration-data", net.calibration, "--max-drop", "5%")
    ran = cli("choose", net.model, *data, "--device", "hddl", "--emulate", "-o", tmp_path / "run", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == json.loads((tmp_path / "run" / "decision.json").read_text(encoding="utf-8"))
    assert (ran.json["reference"], ran.json["chosen"]) == ("cpu-fp32", "hddl-fp16")
    assert "speed on HDDL is unknown" in ran.json["reason"]
    by_name = {entry["name"]: entry for entry in ran.json["candidates"]}
    assert {name: entry["status"] for name, entry in by_name.items()} == {
        "cpu-fp32": "measured",
        "hddl-fp16": "measured",
        "hddl-bf16": "refused",
        "hddl-int8": "refused",
        "hddl-int8+bf16": "refused",
    }
    for entry in by_name.values():
        assert (entry["latency_ms"], entry["throughput_fps"], entry["executed"]) == (None, None, {})
        assert entry["reason"] or entry["name"] == "hddl-fp16"
    assert "FP16 models only" in by_name["hddl-int8"]["reason"]
    assert by_name["cpu-fp32"]["accuracy"] > 0.8
    assert abs(by_name["hddl-fp16"]["drop"]) < 0.05
    assert by_name["hddl-fp16"]["agreement"] > 0.95
    assert ran.json["files"] == ["model.xml", "model.bin"]
    weights = (tmp_path / "run" / "model.bin").stat().st_size
    assert weights == pytest.approx(net.model.stat().st_size / 2, rel=0.05)
    shown = cli("choose", net.model, *data, "--device", "hddl", "--emulate", "-o", tmp_path / "run").out
    assert "ms" not in shown.split("hddl-bf16")[0].split()
    assert "2022.3 LTS" in shown


def test_a_network_that_overflows_in_fp16_is_not_chosen(net: Net, head: np.ndarray, cli: Run, tmp_path: Path) -> None:
    """Its features are a million times as large on the way to the classes, which FP32 does not mind."""
    model = build_net(head)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == "features" and node.op_type == "Gemm":
                node.input[index] = "small"
    up = onnx.helper.make_node("Mul", ["features", "million"], ["large"], "up")
    between = onnx.helper.make_node("Relu", ["large"], ["whole"], "between")
    down = onnx.helper.make_node("Div", ["whole", "million"], ["small"], "down")
    at = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Gemm")
    for step in (down, between, up):
        model.graph.node.insert(at, step)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((), 6e4, np.float32), "million"))
    path, run = tmp_path / "large.onnx", tmp_path / "run"
    onnx.save(model, path)
    options = ("--device", "MYRIAD", "--emulate", "--formats", "fp16", "-o", run, "--json")
    ran = cli("choose", path, "--data", net.test, "--calibration-data", net.calibration, *options)
    assert ran.code == 3, ran.err
    assert ran.json["chosen"] is None
    half = ran.json["candidates"][1]
    assert half["drop"] > 0.3
    assert half["accuracy"] < 2.5 / CLASSES
    assert "more than the 1 allowed" in half["reason"]
    assert not (run / "model.xml").exists()


# --- convert ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["MYRIAD", "ncs2", "HDDL", "FPGA", "GNA"])
def test_retired_devices_get_fp16_ir_and_a_warning(target: str, net: Net, cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    ran = cli("convert", net.model, "--target", target, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["to"] == "fp16"
    assert "still run" in ran.err
    assert "f16" in {data.get("element_type") for data in ET.parse(out).iter("data")}
    assert out.with_suffix(".bin").stat().st_size == pytest.approx(net.model.stat().st_size / 2, rel=0.05)


@pytest.mark.parametrize(
    ("options", "name", "place", "words"),
    [
        (("--target", "MYRIAD", "--to", "fp32"), "o.xml", "--to", ("FP16 models only",)),
        (("--target", "GNA", "--to", "fp32"), "o.xml", "--to", ("FP16",)),
        (("--target", "GPU", "--to", "bf16"), "o.xml", "--to", ("GPU",)),
        (("--target", "MYRIAD"), "o.onnx", "-o", ("o.xml",)),
        (("--target", "toaster"), "o.xml", "--target", ("MYRIAD",)),
    ],
)
def test_a_target_that_cannot_run_it_is_refused(
    options: tuple[str, ...], name: str, place: str, words: tuple[str, ...], net: Net, cli: Run, tmp_path: Path
) -> None:
    refused(cli("convert", net.model, *options, "-o", tmp_path / name), place, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "to"), [("CPU", "fp32"), ("GPU", "fp16"), ("NPU", "fp16")])
def test_targets_of_today_get_what_they_prefer(target: str, to: str, net: Net, cli: Run, tmp_path: Path) -> None:
    ran = cli("convert", net.model, "--target", target, "-o", tmp_path / "o.xml", "--json")
    assert (ran.code, ran.json["to"]) == (0, to)
    assert "warning" not in ran.err
