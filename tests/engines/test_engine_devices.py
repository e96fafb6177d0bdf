"""Devices beyond the CPU: virtual ones on OpenVINO, execution providers of an ONNX Runtime that is made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fewbits.engines import ENGINES, Options, having
from fewbits.errors import EngineError, InputError, UnsupportedError
from models import network

OPENVINO, ORT = ENGINES["openvino"], ENGINES["onnxruntime"]
NET = "g (float[1,2] x) => (float[1,2] y) { a = MatMul(x, w)  y = Relu(a) }"
X = {"x": np.array([[1, 2]], np.float32)}


def net() -> Any:
    return network(NET, w=(2, 2))


class Recorded:
    """ONNX Runtime with providers added to its list; what a session was asked for is kept."""

    def __init__(self, *providers: str, starts: bool = True) -> None:
        self.available, self.starts = [*providers, "AzureExecutionProvider", "CPUExecutionProvider"], starts
        self.asked: list[Any] = []
        self.config: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, path: str, config: Any, providers: list[Any]) -> Any:  # noqa: N802
        self.asked, self.config = providers, config
        real = onnxruntime.InferenceSession(path, config, providers=["CPUExecutionProvider"])
        got = [p if isinstance(p, str) else p[0] for p in providers] if self.starts else ["CPUExecutionProvider"]
        return SimpleNamespace(
            get_providers=lambda: got, get_inputs=real.get_inputs, get_outputs=real.get_outputs, run=real.run
        )


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*providers: str, starts: bool = True) -> Recorded:
        made = Recorded(*providers, starts=starts)
        monkeypatch.setattr("fewbits.engines.onnxruntime._runtime", lambda: made)
        return made

    return install


@pytest.mark.parametrize("device", ["AUTO", "AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
def test_virtual_devices_compute_what_the_cpu_does(device: str) -> None:
    assert OPENVINO.has(device)
    expected = OPENVINO.compile(net(), Options()).run(X)["y"].copy()
    for mode in ("latency", "throughput"):
        got = OPENVINO.compile(net(), Options(device, mode, threads=1)).run(X)["y"]  # type: ignore[arg-type]
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert OPENVINO.refuses("f16", device) == OPENVINO.refuses("f16", "CPU")


@pytest.mark.parametrize("device", ["HETERO", "HETERO:FPGA,CPU", "AUTO:-CPU", "MULTI:", "CPU.0", "BATCH:CPU"])
def test_what_is_not_here_is_not_had(device: str) -> None:
    assert not OPENVINO.has(device)


@pytest.mark.parametrize("device", ["AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
def test_virtual_devices_do_not_slip_into_another_precision(device: str) -> None:
    """Where the CPU would take BF16 for FP16, so would these; what was granted is read from the device behind."""
    if OPENVINO.refuses("f16", "CPU") is None:
        pytest.skip("this CPU computes in FP16")
    with pytest.raises(UnsupportedError, match="asked for f16"):
        OPENVINO.compile(net(), Options(device, precision="f16"))


def test_engines_are_those_that_have_the_device(runtime: Any) -> None:
    assert having("all", "CPU") == (OPENVINO, ORT)
    assert having("all", "AUTO") == (OPENVINO,)
    with pytest.raises(InputError, match=r"no engine has a device CUDA.*openvino: CPU.*onnxruntime: CPU"):
        having("all", "CUDA")
    with pytest.raises(InputError, match="onnxruntime has no device AUTO"):
        having("onnxruntime", "AUTO")
    runtime("CUDAExecutionProvider")
    assert having("all", "CUDA") == (ORT,)


def test_providers_that_are_installed_are_devices(runtime: Any) -> None:
    assert ORT.devices() == ("CPU",)
    runtime("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert ORT.devices() == ("CPU", "CUDA", "TENSORRT")
    runtime("DmlExecutionProvider")
    assert ORT.devices() == ("CPU", "DIRECTML")
    runtime("CoreMLExecutionProvider")
    assert ORT.devices() == ("CPU", "COREML")
    with pytest.raises(InputError, match="CPU, COREML"):
        ORT.check_device("CUDA")


def test_a_provider_gets_the_settings_and_leaves_the_rest_to_those_after_it(runtime: Any) -> None:
    made = runtime("TensorrtExecutionProvider", "CUDAExecutionProvider")
    session = ORT.compile(net(), Options("TENSORRT", extra=(("trt_fp16_enable", "1"),)))
    asked = [("TensorrtExecutionProvider", {"trt_fp16_enable": "1"}), "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert made.asked == asked
    assert session.settings["trt_fp16_enable"] == "1"
    assert session.settings["provider"] == "TensorrtExecutionProvider"
    runtime("TensorrtExecutionProvider")
    assert "file" in str(ORT.refuses("f16", "TENSORRT"))


def test_directml_plans_no_memory(runtime: Any) -> None:
    made = runtime("DmlExecutionProvider")
    ORT.compile(net(), Options("DIRECTML"))
    assert made.config.enable_mem_pattern is False
    ORT.compile(net(), Options())
    assert made.config.enable_mem_pattern is True


def test_a_provider_that_does_not_start_is_no_measurement(runtime: Any) -> None:
    runtime("CUDAExecutionProvider", starts=False)
    with pytest.raises(EngineError, match="could not start CUDA and would run on CPUExecutionProvider"):
        ORT.compile(net(), Options("CUDA"))


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="NOSUCH"):
        ORT.compile(net(), Options("NOSUCH"))


def test_settings_reach_the_engine() -> None:
    session = OPENVINO.compile(net(), Options("CPU", "throughput", extra=(("NUM_STREAMS", "1"),)))
    assert session.slots == 1
    assert session.settings["NUM_STREAMS"] == "1"
    key = "session.intra_op.allow_spinning"
    assert ORT.compile(net(), Options(extra=((key, "0"),))).settings[key] == "0"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"NUM_STREAM": "1"}, "no property NUM_STREAM.*NUM_STREAMS"),
        ({"NUM_STREAMS": "many"}, "many"),
        ({"INFERENCE_PRECISION_HINT": "bf16"}, "--precision"),
        ({"PERFORMANCE_HINT": "LATENCY"}, "both modes"),
    ],
)
def test_settings_that_openvino_does_not_take_are_named(extra: dict[str, str], words: str) -> None:
    for device in ("CPU", "AUTO:CPU"):
        OPENVINO.check_extra(device, {"NUM_STREAMS": "1"})
        with pytest.raises(InputError, match=words) as caught:
            OPENVINO.check_extra(device, extra)
        assert caught.value.where == "--engine-option"
