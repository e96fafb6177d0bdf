"""Each candidate's model file: FP32, FP16-stored, or INT8 for its engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.files import write_text
from fewbits.graph import queries
from fewbits.graph.files import save_onnx
from fewbits.graph.ops import Role, role
from fewbits.measurement.records import Subject
from fewbits.passes.to_half import store_half
from fewbits.quantization.plan import QuantPlan
from fewbits.quantization.tune import Tuned
from fewbits.quantization.tune import build as build_int8
from fewbits.selection.job import Job
from fewbits.selection.journal import CANDIDATES, Journal
from fewbits.selection.records import Candidate


@dataclass(frozen=True)
class Built:
    """A candidate's file (relative to the run's folder), what it holds, and its plan if it is quantized."""

    candidate: Candidate
    file: str
    formats: str
    plan: QuantPlan | None = None

    def subject(self, job: Job) -> Subject:
        """What is measured of it."""
        return job.subject(self.candidate, self.file)


class Yard:
    """Where candidates are built; ``built`` has them by name, in the order they came.

    Args:
        tuned: engine name → the recipe settled for it.
        keep: nodes that FP16 would spoil; the FP16 file holds their weights in FP32.
    """

    def __init__(
        self, job: Job, journal: Journal, tuned: Mapping[str, Tuned], keep: frozenset[str] = frozenset()
    ) -> None:
        self.job, self.journal = job, journal
        self._tuned, self._keep = tuned, keep
        self.built: dict[str, Built] = {}

    def build(self, candidate: Candidate, tuned: Tuned | None = None) -> Built:
        """Write the candidate's model into the run's folder; a file that serves several candidates is written once.

        Args:
            tuned: for one that is quantized otherwise than the engine's settled recipe says; it gets its own file.
        """
        model, plan, formats = self.job.model, None, candidate.format
        if candidate.recipe is not None:
            made = tuned or self._tuned[candidate.engine]
            name = f"int8-{candidate.engine}.onnx" if tuned is None else f"{candidate.name}.onnx"
            plan, formats = made.plan, int8_formats(model, made.plan, candidate.precision)
            self._write(name, lambda: build_int8(made))
            write_text((self.job.folder / CANDIDATES / name).with_suffix(".toml"), made.recipe.to_toml())
        elif candidate.format == "fp16":
            name = "fp16.onnx"
            self._write(name, lambda: store_half(model, ir.DataType.FLOAT16, keep=self._keep))
        else:
            name = "fp32.onnx"
            self._write(name, lambda: model)
        self.built[candidate.name] = Built(candidate, f"{CANDIDATES}/{name}", formats, plan)
        return self.built[candidate.name]

    def _write(self, name: str, make: Callable[[], ir.Model]) -> None:
        """A file counts as there only if this run wrote it; the model is made only if it has to be written."""
        path = self.job.folder / CANDIDATES / name
        if not (self.journal.get("file", name) and path.is_file()):
            save_onnx(make(), path)
            self.journal.put("file", name, True)


def int8_formats(model: ir.Model, plan: QuantPlan, precision: str) -> str:
    """``int8`` where all of the model's multiply-accumulates are INT8, else the mix, such as ``int8+fp32``."""
    work = [node for node in model.graph if role(node.op_type) is Role.COMPUTE]
    rest = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}[precision]
    integer = [node for node in work if queries.node_name(node) in plan.integer]
    if not integer:
        return rest
    return "int8" if len(integer) == len(work) and precision == "f32" else f"int8+{rest}"
