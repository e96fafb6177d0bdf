"""All there is to find out about 16 bits: the checks, the ranges, the run, and the nodes that stay FP32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.errors import EngineError
from fewbits.graph import queries
from fewbits.hazards.checks import check, unsafe_nodes
from fewbits.hazards.confirm import confirmed, half_run, unexplained
from fewbits.hazards.observe import observe, watched
from fewbits.hazards.records import Finding, HalfRun
from fewbits.progress import Progress

# The FP16 run looks at every activation of two models: few samples, and one where they fill the memory.
RUN_SAMPLES, _RUN_BYTES = 4, 1 << 30


@dataclass(frozen=True)
class Survey:
    """The findings, the FP16 run, and the same run with the unsafe nodes in FP32.

    ``run`` is None where the model could not be or was not run, ``mixed`` also where no node is unsafe.
    """

    findings: tuple[Finding, ...]
    run: HalfRun | None = None
    mixed: HalfRun | None = None

    @property
    def keep(self) -> frozenset[str]:
        """Nodes that stay FP32 in an FP16 model."""
        return unsafe_nodes(self.findings)


def survey(
    model: ir.Model,
    samples: Sequence[Sample],
    progress: Progress,
    *,
    given: bool = True,
    run_samples: int = RUN_SAMPLES,
    remedy: bool = True,
) -> Survey:
    """Check the model and see by a run what is true of it; a model that does not run is judged by its structure.

    Args:
        samples: ranges are taken from all of them, the run is on the first few; none for no run.
        run_samples: how many those few are; 0 for ranges without an FP16 run.
        remedy: whether to run it with the unsafe nodes in FP32 as well.
        given: whether they are the person's; the ranges of random ones are not judged.
    """
    progress.step("looking for FP16 and BF16 hazards")
    if not samples:
        return Survey(check(model))
    try:
        findings = check(model, observe(model, samples) if given else None)
        if not run_samples:
            return Survey(findings)
        held = sum(8 * (queries.numel(value) or 0) for value in watched(model))
        few = samples[: max(1, min(run_samples, _RUN_BYTES // max(held, 1)))]
        run = half_run(model, few, given=given)
        findings = (*confirmed(findings, run), *unexplained(findings, run))
        keep = unsafe_nodes(findings)
        return Survey(findings, run, half_run(model, few, given=given, keep=keep) if keep and remedy else None)
    except (EngineError, ValueError) as error:
        return Survey(_by_structure(model, progress, error))


def judged(model: ir.Model, samples: Iterable[Sample], progress: Progress) -> tuple[Finding, ...]:
    """The findings by the ranges on these samples; those of a model that does not run by its structure."""
    progress.step("looking for FP16 and BF16 hazards")
    try:
        return check(model, observe(model, samples))
    except (EngineError, ValueError) as error:
        return _by_structure(model, progress, error)


def _by_structure(model: ir.Model, progress: Progress, error: Exception) -> tuple[Finding, ...]:
    progress.warn(f"the model could not be run, so FP16 hazards are judged by its structure alone: {error}")
    return check(model)
