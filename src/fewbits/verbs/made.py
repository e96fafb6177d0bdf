"""What a conversion wrote, and how it may turn out to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits.engines import ENGINES, Engine
from fewbits.errors import FewbitsError
from fewbits.graph import queries
from fewbits.measurement.deviation import Rounding

# An FP16 file whose FP32 twin, with a rounding behind every operator, is not run any more; nor are rewrites on their
# own before a file in 16 bits is.
MOST_BYTES = 1 << 29


class ConversionError(FewbitsError):
    """The format asked for, or the engine, makes something else of the model: another one is the remedy."""

    exit_code = 2


class RewriteError(ConversionError):
    """The rewrites changed what the model computes: a fault of fewbits."""

    exit_code = 1

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where=where, fix="report this model")


@dataclass(frozen=True)
class Made:
    """What was written: the file, and what it was made of (``rewritten`` need not be there)."""

    file: Path
    rewritten: Path
    to: str
    rounding: Rounding

    @property
    def is_ir(self) -> bool:
        """Whether OpenVINO reads it."""
        return self.file.suffix == ".xml"

    @property
    def engine(self) -> Engine:
        """The one that will run it."""
        return ENGINES["openvino" if self.is_ir else "onnxruntime"]

    def tries_rewrites(self, model: ir.Model) -> bool:
        """Whether the rewrites are tried in FP32 first: before 16 bits, which hide small faults."""
        return self.to != "fp32" and queries.weight_bytes(model) <= MOST_BYTES
