"""Each candidate's model file: FP32, FP16-stored, or INT8 for its engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits.graph import queries
from fewbits.graph.files import save_onnx
from fewbits.graph.ops import Role, role
from fewbits.passes.to_half import store_half
from fewbits.quantization.plan import QuantPlan
from fewbits.quantization.tune import Tuned
from fewbits.quantization.tune import build as build_int8
from fewbits.selection.journal import CANDIDATES, Journal
from fewbits.selection.records import Candidate


@dataclass(frozen=True)
class Built:
    """A candidate's file (relative to the run's folder), what it holds, and its plan if it is quantized."""

    candidate: Candidate
    file: str
    formats: str
    plan: QuantPlan | None = None


def build(
    candidate: Candidate,
    model: ir.Model,
    tuned: Mapping[str, Tuned],
    folder: Path,
    journal: Journal,
    keep: frozenset[str] = frozenset(),
) -> Built:
    """Write the candidate's model into the run's folder; files that serve several candidates are written once.

    Args:
        tuned: engine name → the recipe settled for it.
        keep: nodes that FP16 would spoil; the FP16 file holds their weights in FP32.
    """
    plan: QuantPlan | None = None
    name, formats = "fp32.onnx", candidate.format
    if candidate.recipe is not None:
        name = f"int8-{candidate.engine}.onnx"
        made, plan = build_int8(tuned[candidate.engine]), tuned[candidate.engine].plan
        formats = int8_formats(model, plan, candidate.precision)
        _write(folder, name, lambda: made, journal)
    elif candidate.format == "fp16":
        name = "fp16.onnx"
        _write(folder, name, lambda: store_half(model, ir.DataType.FLOAT16, keep=keep), journal)
    else:
        _write(folder, name, lambda: model, journal)
    return Built(candidate, f"{CANDIDATES}/{name}", formats, plan)


def int8_formats(model: ir.Model, plan: QuantPlan, precision: str) -> str:
    """``int8`` where all of the model's multiply-accumulates are INT8, else the mix, such as ``int8+fp32``."""
    work = [node for node in model.graph if role(node.op_type) is Role.COMPUTE]
    rest = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}[precision]
    integer = [node for node in work if queries.node_name(node) in plan.integer]
    if not integer:
        return rest
    return "int8" if len(integer) == len(work) and precision == "f32" else f"int8+{rest}"


def _write(folder: Path, name: str, make: Callable[[], ir.Model], journal: Journal) -> None:
    """A file counts as there only if this run wrote it; the model is made only if it has to be written."""
    path = folder / CANDIDATES / name
    if not (journal.get("file", name) and path.is_file()):
        save_onnx(make(), path)
        journal.put("file", name, True)
