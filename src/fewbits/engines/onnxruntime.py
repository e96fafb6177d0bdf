"""ONNX Runtime on its CPU provider, or another that is installed: compile, run, profile."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.devices.host import available_cores
from fewbits.engines.base import Arrays, Engine, OpTime, Options, Profile, Session
from fewbits.engines.capability import Capability
from fewbits.errors import EngineError, FewbitsError, UnsupportedError
from fewbits.graph.files import as_file
from fewbits.numerics.tensors import TensorSpec

CAPABILITY = Capability(
    compute=frozenset({"Conv", "Gemm", "MatMul"}),
    joins=frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"}),
    carries=frozenset(
        {"MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Resize"}
    ),
    activations=frozenset({"Relu", "Clip"}),
    functions=frozenset({"Sigmoid", "LeakyRelu"}),
    output_ops=frozenset({"Conv"}),
    requantize_carries=True,
    on_integers=frozenset({"Pad"}),
    int32_bias=True,
    one_matrix=frozenset({"MatMul"}),
    moving_no_faster=frozenset({"MatMul"}),
)

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bfloat16)": ml_dtypes.bfloat16,
    "tensor(string)": np.object_,
    "tensor(bool)": np.bool_,
}
_FORMATS = {"uint8": "i8", "int8": "i8", "float16": "f16", "bfloat16": "bf16", "float": "f32", "int64": "i64"}
_WARM_UP = 3
# Device → its execution provider, and the providers that take what it leaves, in order.
_PROVIDERS = {
    "CPU": ("CPUExecutionProvider",),
    "CUDA": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "TENSORRT": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    "DIRECTML": ("DmlExecutionProvider", "CPUExecutionProvider"),
    "COREML": ("CoreMLExecutionProvider", "CPUExecutionProvider"),
}


def _runtime() -> Any:
    """The library, without its telemetry: it would write to the home folder when imported, and call home."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    """Microsoft's engine; a device is one of its execution providers."""

    name: ClassVar[str] = "onnxruntime"

    def __post_init__(self) -> None:
        object.__setattr__(self, "capability", CAPABILITY)

    @property
    def version(self) -> str:
        """The installed version, such as ``1.32.0``."""
        return str(_runtime().__version__)

    def devices(self) -> tuple[str, ...]:
        """The providers of this build that are devices, CPU first."""
        built_in = _runtime().get_available_providers()
        return tuple(device for device, providers in _PROVIDERS.items() if providers[0] in built_in)

    def refuses(self, precision: str, device: str) -> str | None:
        """The CPU provider computes floating point in FP32 on x86; the others compute in what the model's file says."""
        if precision == "f32":
            return None
        name = {"bf16": "BF16", "f16": "FP16"}[precision]
        if device == "CPU":
            return f"ONNX Runtime's {device} provider has no {name} kernels for convolutions"
        return f"ONNX Runtime's {device} provider executes what the file holds; it takes no order to run it in {name}"

    def compile(self, source: ir.Model | Path, options: Options) -> Session:
        """Compile; latency mode spreads one run over all threads, throughput mode runs one sample per thread."""
        if reason := self.refuses(options.precision, options.device):
            raise UnsupportedError(reason)
        return _Session(source, options)

    def profile(self, source: ir.Model | Path, options: Options, inputs: Arrays, runs: int = 20) -> Profile:
        """Median of each node's time from the session's own profile."""
        with tempfile.TemporaryDirectory(prefix="fewbits-") as folder:
            session = _Session(source, options, profile_prefix=str(Path(folder) / "profile"))
            for _ in range(runs + _WARM_UP):
                session.run(inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        samples: dict[str, list[float]] = {}
        kinds: dict[str, tuple[str, str]] = {}
        for event in events:
            details = event.get("args", {})
            if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
                continue
            name = event["name"].removesuffix("_kernel_time")
            kinds[name] = (details.get("op_name", ""), _executed_format(details))
            samples.setdefault(name, []).append(float(event["dur"]))
        return Profile(
            tuple(OpTime(name, *kinds[name], statistics.median(s[_WARM_UP:] or s)) for name, s in samples.items())
        )


def _executed_format(details: Mapping[str, Any]) -> str:
    """What a kernel computed in: the type of its first input, which is a scale for some; these tell by their output."""
    by_output = details.get("op_name") in ("QuantizeLinear", "QLinearConcat")
    key = "output_type_shape" if by_output else "input_type_shape"
    types = [next(iter(entry)) for entry in details.get(key, []) if entry]
    return _FORMATS.get(types[0], "other") if types else "other"


class _Session(Session):
    def __init__(self, source: ir.Model | Path, options: Options, profile_prefix: str = "") -> None:
        ort = _runtime()
        threads = options.threads or available_cores()
        config = ort.SessionOptions()
        config.log_severity_level = 4
        config.intra_op_num_threads = threads if options.mode == "latency" else 1
        config.inter_op_num_threads = 1
        device, extra = options.device, dict(options.extra)
        if device not in _PROVIDERS:
            raise UnsupportedError(f"ONNX Runtime has no device {device}")
        chain: list[Any] = [name for name in _PROVIDERS[device] if name in ort.get_available_providers()]
        if device == "DIRECTML":  # it refuses sessions that plan their memory ahead
            config.enable_mem_pattern = False
        if device == "CPU":
            for key, value in extra.items():
                config.add_session_config_entry(key, value)
        else:
            chain[0] = (chain[0], extra)
        if profile_prefix:
            config.enable_profiling = True
            config.profile_file_prefix = profile_prefix
        try:
            with as_file(source) as path:
                self._session = ort.InferenceSession(str(path), config, providers=chain)
        except FewbitsError:
            raise
        except Exception as error:  # pybind raises several types of its own
            raise EngineError(f"ONNX Runtime cannot compile it: {_first_line(error)}") from error
        # A provider whose libraries are missing is dropped without a word; that must not pass for a measurement.
        if _PROVIDERS[device][0] not in (got := self._session.get_providers()):
            raise EngineError(f"ONNX Runtime could not start {device} and would run on {', '.join(got)}")
        self.slots = 1 if options.mode == "latency" else threads
        self.settings = {
            "intra_op_num_threads": str(config.intra_op_num_threads),
            "concurrent_runs": str(self.slots),
            **({} if device == "CPU" else {"provider": _PROVIDERS[device][0]}),
            **extra,
        }
        self.inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]], slot: int = 0) -> Arrays:  # noqa: ARG002
        try:
            return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))
        except Exception as error:  # pybind raises several types of its own
            raise EngineError(f"ONNX Runtime cannot run it: {_first_line(error)}") from error

    def end_profiling(self) -> str:
        return str(self._session.end_profiling())

    def close(self) -> None:
        self._session = None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    return TensorSpec(node.name, shape, np.dtype(_TYPES.get(node.type, np.float32)))
