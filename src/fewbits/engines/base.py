"""What every engine gives: compile a model, run it, say what was executed. It decides nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.engines.capability import Capability
from fewbits.errors import EngineError, InputError, UnsupportedError
from fewbits.numerics.tensors import TensorSpec

# Kernels that multiply and accumulate, by the names both engines have for them.
_WORK = frozenset(
    {"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"}
    | {"LSTMSequence", "LSTMCell", "GRUSequence", "GRUCell", "RNNSequence", "RNNCell"}
    | {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "FusedMatMul"}
    | {"LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"}
)
Arrays = dict[str, NDArray[Any]]
Mode = Literal["latency", "throughput"]
_PROBE = """<ir_version: 8, opset_import: ["" : 17]> probe (float[1] x) => (float[1] y) { y = Relu(x) }"""


@dataclass(frozen=True)
class Options:
    """How to run a model: everything that changes speed or arithmetic, so that it can be recorded.

    ``precision`` is the format floating-point operators execute in: f32, bf16 or f16.
    ``threads`` is None for all cores this process may use. ``extra`` are the engine's own settings (key, value),
    passed through. ``shapes`` are sizes for inputs, by name; () leaves free sizes free, and with None OpenVINO fixes
    them to 1.
    """

    device: str = "CPU"
    mode: Mode = "latency"
    precision: str = "f32"
    threads: int | None = None
    extra: tuple[tuple[str, str], ...] = ()
    shapes: tuple[tuple[str, tuple[int, ...]], ...] | None = None


@dataclass(frozen=True)
class OpTime:
    """One executed operator: its name and kind, the format its kernel computed in, and its time in one run."""

    name: str
    op: str
    format: str
    time_us: float


@dataclass(frozen=True)
class Profile:
    """What an engine executed, operator by operator (median run)."""

    ops: tuple[OpTime, ...]

    def shares(self, *, work: bool = False) -> dict[str, float]:
        """Share of run time per format, largest first: {"i8": 0.9, "f32": 0.1}.

        Args:
            work: of the kernels that multiply and accumulate alone. Masks, pixels and positions are in 8 bits in any
                model, and say nothing about what it computes in.
        """
        ops = [op for op in self.ops if op.op in _WORK or not work]
        total = sum(op.time_us for op in ops)
        sums: dict[str, float] = {}
        for op in ops:
            sums[op.format] = sums.get(op.format, 0.0) + op.time_us
        ordered = sorted(sums.items(), key=lambda item: -item[1])
        return {name: time / total for name, time in ordered if time > 0} if total else {}


class Session(ABC):
    """A compiled model.

    ``slots`` runs may be under way at once, one thread each, with slot numbers 0 … slots-1.
    ``settings`` are the engine's own words for the options, as a person would set them to deploy.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    slots: int = 1
    settings: Mapping[str, str]

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray[Any]], slot: int = 0) -> Arrays:
        """Run one sample (batch axis included).

        The arrays returned may be overwritten by the next run in the same slot; copy what is kept.

        Raises:
            EngineError: the engine refused or failed.
        """

    def close(self) -> None:  # noqa: B027  (engines without something to free need not override)
        """Free what the session holds; it cannot run afterwards."""


@dataclass(frozen=True)
class Engine(ABC):
    """An inference engine as installed here."""

    capability: Capability = field(init=False)
    name: ClassVar[str]

    @property
    @abstractmethod
    def version(self) -> str:
        """The installed version."""

    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """The devices this engine can use on this host, the default first."""

    @abstractmethod
    def refuses(self, precision: str, device: str) -> str | None:
        """Why floating point cannot execute in this precision here, or None where it can."""

    @abstractmethod
    def compile(self, source: ir.Model | Path, options: Options) -> Session:
        """Make a session, for batch 1 where ``shapes`` says nothing else.

        Raises:
            UnsupportedError: this engine or host cannot do what the options ask.
            EngineError: the engine could not compile the model.
        """

    @abstractmethod
    def profile(self, source: ir.Model | Path, options: Options, inputs: Arrays, runs: int = 20) -> Profile:
        """Run with the engine's own profiler and say which operators ran in which format.

        Raises:
            EngineError: the engine could not compile or run the model.
        """

    def has(self, device: str) -> bool:
        """Whether this engine can use the device here."""
        return device in self.devices()

    def check_device(self, device: str) -> None:
        """Raise ``InputError`` that lists what there is where the device is not here."""
        if not self.has(device):
            raise InputError(
                f"{self.name} has no device {device} here",
                where="--device",
                fix=f"choose one of {', '.join(self.devices())}",
            )

    def check_extra(self, device: str, extra: Mapping[str, str]) -> None:
        """Raise ``InputError`` where the engine does not take these settings, tried on a model of one operator."""
        try:
            self.compile(ir.from_onnx_text(_PROBE), Options(device, extra=tuple(extra.items()))).close()
        except (EngineError, UnsupportedError) as error:
            raise InputError(error.what, where="--engine-option", fix="check the key and its value") from error
