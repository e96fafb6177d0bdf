"""The ONNX reference evaluator: slow, plain NumPy, and therefore the oracle the fast engines are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.engines.base import Arrays, Engine, Options, Profile, Session
from fewbits.engines.capability import Capability
from fewbits.errors import EngineError, FewbitsError, UnsupportedError
from fewbits.graph.files import as_file
from fewbits.numerics.tensors import TensorSpec


@dataclass(frozen=True)
class Reference(Engine):
    """Runs a model exactly as the ONNX operator descriptions say."""

    name: ClassVar[str] = "reference"

    def __post_init__(self) -> None:
        object.__setattr__(self, "capability", Capability())

    @property
    def version(self) -> str:
        """The version of the ``onnx`` package."""
        return str(onnx.__version__)

    def devices(self) -> tuple[str, ...]:
        """NumPy runs on the CPU."""
        return ("CPU",)

    def refuses(self, precision: str, device: str) -> str | None:
        """Only FP32."""
        return None if precision == "f32" else f"the reference evaluator computes in f32 on the {device}"

    def compile(self, source: ir.Model | Path, options: Options) -> Session:
        """Load the model; there is nothing to compile."""
        if reason := self.refuses(options.precision, options.device):
            raise UnsupportedError(reason)
        return _Session(source)

    def profile(self, source: ir.Model | Path, options: Options, inputs: Arrays, runs: int = 20) -> Profile:  # noqa: ARG002
        """Empty: an oracle's times mean nothing."""
        return Profile(())


class _Session(Session):
    def __init__(self, source: ir.Model | Path) -> None:
        from onnx.reference import ReferenceEvaluator

        try:
            with as_file(source) as path:
                self._evaluator = ReferenceEvaluator(str(path), new_ops=[_local_response_normalization()])
        except FewbitsError:
            raise
        except Exception as error:  # the evaluator raises whatever a malformed model makes NumPy raise
            raise EngineError(f"the reference evaluator cannot load it: {error}") from error
        self.settings = {}
        self.inputs = tuple(_spec(value) for value in self._evaluator.proto_.graph.input)
        self.outputs = tuple(_spec(value) for value in self._evaluator.proto_.graph.output)

    def run(self, inputs: Mapping[str, NDArray[Any]], slot: int = 0) -> Arrays:  # noqa: ARG002
        try:
            results = self._evaluator.run(None, dict(inputs))
        except MemoryError as error:
            raise EngineError("the reference evaluator needs more memory than there is for it") from error
        except Exception as error:
            raise EngineError(f"the reference evaluator cannot run it: {error}") from error
        return {spec.name: np.asarray(array) for spec, array in zip(self.outputs, results, strict=True)}


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return TensorSpec(value.name, shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _local_response_normalization() -> type:
    """LRN as the operator's description has it; the evaluator's own (onnx 1.23.2) normalizes N channels, not C.

    y = x / (bias + alpha / size * sum of x^2 over the channels c - floor((size-1)/2) ... c + ceil((size-1)/2))^beta
    """
    from onnx.reference.op_run import OpRun

    class LRN(OpRun):
        def _run(self, x: NDArray[Any], alpha: float, beta: float, bias: float, size: int) -> tuple[NDArray[Any], ...]:
            before, after = (size - 1) // 2, size // 2
            padded = np.pad(np.square(x), [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
            sums = sum(padded[:, k : k + x.shape[1]] for k in range(size))
            return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)

    return LRN
