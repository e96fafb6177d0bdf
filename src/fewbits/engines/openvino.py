"""OpenVINO: compile, run, profile. Formats are asked for by name, never left to the plugin's default."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.devices.lookup import VIRTUAL, behind
from fewbits.engines.base import Arrays, Engine, Mode, OpTime, Options, Profile, Session
from fewbits.engines.capability import Capability
from fewbits.errors import EngineError, InputError, UnsupportedError
from fewbits.graph.files import as_file
from fewbits.libraries import openvino, openvino_sentence
from fewbits.numerics.tensors import TensorSpec

_HINTS: dict[Mode, str] = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_PERFORMANCE = "PERFORMANCE_HINT"
_PRECISION = "INFERENCE_PRECISION_HINT"
_ELEMENT = {"f32": "f32", "bf16": "bf16", "f16": "f16"}

# The last part of a CPU kernel's name says what it computes in: brgconv_avx512_I8, jit_avx512_bf16.
_KERNEL_FORMATS = {
    "i8": "i8",
    "u8": "i8",
    "bf16": "bf16",
    "f16": "f16",
    "fp16": "f16",
    "f32": "f32",
    "fp32": "f32",
    "i32": "i32",
    "i64": "i64",
}

CAPABILITY = Capability(
    compute=frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"}),
    joins=frozenset({"Add", "Concat", "AveragePool", "GlobalAveragePool"}),
    carries=frozenset(
        {
            "MaxPool",
            "Flatten",
            "Reshape",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Slice",
            "Split",
            "DepthToSpace",
            "Resize",
        }
    ),
    activations=frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"}),
    # With free sizes, what reads such a result gets other numbers than the output (2026.4): 3 dB instead of 39.
    not_shared=frozenset({"Conv", "ConvTranspose"}),
    moving=frozenset({"MatMul"}),
    moving_centred=True,
)


@functools.cache
def _core() -> Any:
    return openvino().Core()


@dataclass(frozen=True)
class OpenVino(Engine):
    """Intel's engine for CPUs, GPUs and NPUs."""

    name: ClassVar[str] = "openvino"

    def __post_init__(self) -> None:
        object.__setattr__(self, "capability", CAPABILITY)

    @property
    def version(self) -> str:
        """The installed version, such as ``2026.4.1``."""
        return str(openvino().__version__).split("-")[0]

    def devices(self) -> tuple[str, ...]:
        """The plugin devices found here; AUTO, HETERO:… and MULTI:… of them can be used as well."""
        return tuple(_core().available_devices)

    def has(self, device: str) -> bool:
        """Whether the device, or all devices behind AUTO, HETERO:… or MULTI:…, are here."""
        have = set(self.devices())
        have |= {name.split(".")[0] for name in have} | {f"{name}.0" for name in have if name == "GPU"}
        children = behind(device, self.devices())
        return bool(children) and set(children) <= have

    def refuses(self, precision: str, device: str) -> str | None:
        """Why the device does not compute in this precision (it says so itself in its capabilities)."""
        if precision == "f32":
            return None
        wanted = {"bf16": "BF16", "f16": "FP16"}[precision]
        for child in behind(device, self.devices()):
            have = _core().get_property(child, "OPTIMIZATION_CAPABILITIES")
            if wanted not in have:
                return f"this {child} has no {wanted} arithmetic (it reports {', '.join(sorted(map(str, have)))})"
        return None

    def check_extra(self, device: str, extra: Mapping[str, str]) -> None:
        """Whether the plugin, or one behind AUTO, HETERO:… or MULTI:…, knows each property and takes its value."""
        asked = (device.split(":")[0], *behind(device, self.devices()))
        known = {str(name) for part in asked for name in _core().get_property(part, "SUPPORTED_PROPERTIES")}
        for key in extra:
            if key in (_PERFORMANCE, _PRECISION):
                fix = "use --precision, or --formats" if key == _PRECISION else "both modes are measured anyway"
                raise InputError(f"{key} is set by fewbits itself", where="--engine-option", fix=fix)
            if key not in known:
                raise InputError(
                    f"OpenVINO's {device} has no property {key}",
                    where="--engine-option",
                    fix=f"one of {', '.join(sorted(known))}",
                )
        super().check_extra(device, extra)

    def compile(self, source: ir.Model | Path, options: Options) -> Session:
        """Compile for batch 1, or for the shapes asked for."""
        return _Session(*_compile(source, options, profiling=False))

    def profile(self, source: ir.Model | Path, options: Options, inputs: Arrays, runs: int = 20) -> Profile:
        """Median of each operator's time from the plugin's performance counters."""
        compiled, _, _ = _compile(source, options, profiling=True)
        request = compiled.create_infer_request()
        feed = {name: np.asarray(array, order="C") for name, array in inputs.items()}
        samples: dict[str, list[float]] = {}
        kinds: dict[str, tuple[str, str]] = {}
        for run in range(runs + 3):
            _infer(request, feed)
            if run < 3:
                continue
            for info in request.profiling_info:
                time_us = info.real_time.total_seconds() * 1e6
                kinds[info.node_name] = (info.node_type, info.exec_type)
                samples.setdefault(info.node_name, []).append(time_us)
        ops = [
            OpTime(name, kinds[name][0], kernel_format(kinds[name][1]), statistics.median(times))
            for name, times in samples.items()
        ]
        return Profile(tuple(op for op in ops if op.time_us > 0))


def kernel_format(kernel: str) -> str:
    """The number format in a kernel's name; ``other`` where it names none."""
    return _KERNEL_FORMATS.get(kernel.rsplit("_", 1)[-1].lower(), "other")


@dataclass(frozen=True)
class _Names:
    """What the file calls its inputs and outputs.

    A compiled model may know them by others as well: where the plugin drops an operator that changes nothing, one
    tensor has the names of both of its sides.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> _Names:
        return cls(tuple(map(_name, model.inputs)), tuple(map(_name, model.outputs)))


def _compile(source: ir.Model | Path, options: Options, *, profiling: bool) -> tuple[Any, dict[str, str], _Names]:
    settings = {
        _PERFORMANCE: _HINTS[options.mode],
        _PRECISION: _ELEMENT[options.precision],
    }
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(options.threads)
    settings |= dict(options.extra)
    core = _core()
    try:
        with as_file(source) as path:
            model = core.read_model(str(path))
            names = _Names.of(model)
            if options.shapes is None:
                _to_batch_one(model)
            elif options.shapes:
                ports = dict(zip(names.inputs, model.inputs, strict=True))
                model.reshape({ports[name]: list(sizes) for name, sizes in options.shapes})
            compiled = core.compile_model(model, options.device, {**settings, "PERF_COUNT": profiling})
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot compile it: {openvino_sentence(error)}") from error
    for device, got in _granted(compiled, options.device).items():
        if got != _ELEMENT[options.precision]:
            raise UnsupportedError(f"asked for {options.precision}, this {device} would execute {got}")
    return compiled, settings, names


def _granted(compiled: Any, device: str) -> dict[str, str]:
    """Device → the precision it will execute; AUTO, HETERO and MULTI only know that of the devices behind them."""
    if device.split(":")[0] not in VIRTUAL:
        return {device: compiled.get_property(_PRECISION).to_string()}
    behind = compiled.get_property("DEVICE_PROPERTIES")
    return {name: found[_PRECISION].to_string() for name, found in behind.items() if _PRECISION in found}


def _to_batch_one(model: Any) -> None:
    shapes = {}
    for port in model.inputs:
        partial = port.get_partial_shape()
        if partial.is_dynamic:
            if partial.rank.is_dynamic:
                raise InputError(
                    f"input {port.any_name} has no rank", fix="export the model with known input dimensions"
                )
            shapes[port] = [dim.get_length() if dim.is_static else 1 for dim in partial]
    if shapes:
        model.reshape(shapes)


class _Session(Session):
    def __init__(self, compiled: Any, settings: Mapping[str, str], names: _Names) -> None:
        self._requests: list[Any] = []
        self._compiled = compiled
        self.settings = dict(settings)
        self.inputs = tuple(map(_spec, names.inputs, compiled.inputs))
        self.outputs = tuple(map(_spec, names.outputs, compiled.outputs))
        # Where sizes are free, the plugin writes to the array of the run before (2026.4); it gets copies there.
        self._shares = all(None not in spec.shape for spec in self.inputs)
        self.slots = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [compiled.create_infer_request() for _ in range(self.slots)]

    def run(self, inputs: Mapping[str, NDArray[Any]], slot: int = 0) -> Arrays:
        request = self._requests[slot]
        if missing := [spec.name for spec in self.inputs if spec.name not in inputs]:
            raise EngineError(f"the input {missing[0]} is missing")
        _infer(request, inputs, share=self._shares)
        return {spec.name: request.get_output_tensor(index).data for index, spec in enumerate(self.outputs)}

    def close(self) -> None:
        self._requests = []
        self._compiled = None


def _infer(request: Any, inputs: Mapping[str, NDArray[Any]], *, share: bool = True) -> None:
    try:
        request.infer(inputs, share_inputs=share, share_outputs=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise EngineError(f"OpenVINO cannot run it: {openvino_sentence(error)}") from error


def _spec(name: str, port: Any) -> TensorSpec:
    shape = tuple(dim.get_length() if dim.is_static else None for dim in port.get_partial_shape())
    return TensorSpec(name, shape, np.dtype(port.element_type.to_dtype()))


def _name(port: Any) -> str:
    return str(port.any_name if port.names else port.node.friendly_name)
