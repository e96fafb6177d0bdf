"""Before FP16 or BF16 is built and measured: where would they go wrong, and which nodes stay FP32 for it?"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from fewbits import hazards
from fewbits.data import Dataset, first, stream
from fewbits.hazards.records import Finding
from fewbits.progress import Progress
from fewbits.selection.journal import Journal

# Ranges of a network differ little from sample to sample; more of them cost time before anything is measured.
_SAMPLES = 8
# An FP16 run compares every activation of two models, which takes as long as a hundred plain runs.
_RUN_SAMPLES = 1
_SAID = 3


def preflight(
    model: ir.Model, calibration: Dataset, formats: tuple[str, ...], journal: Journal, progress: Progress
) -> frozenset[str]:
    """Warn of what the checks find, and name the nodes that the FP16 candidate keeps in FP32.

    What a run with FP16 rounding does not confirm is kept in FP32 all the same: other samples may show it.
    """
    halves = {"fp16": "fp16" in formats, "bf16": "bf16" in formats or "mixed" in formats}
    if not any(halves.values()):
        return frozenset()
    known = journal.get("preflight", "found")
    if known is None:
        samples = first(stream(calibration, workers=2), _SAMPLES)
        found = hazards.survey(
            model, samples, progress, run_samples=_RUN_SAMPLES if halves["fp16"] else 0, remedy=False
        )
        said = [
            sentence for format, asked in halves.items() if asked for sentence in _sentences(found.findings, format)
        ]
        known = {"keep": sorted(found.keep) if halves["fp16"] else [], "warnings": said}
        journal.put("preflight", "found", known)
    for sentence in known["warnings"]:
        progress.warn(sentence)
    return frozenset(known["keep"])


def _sentences(findings: tuple[Finding, ...], format: str) -> Iterator[str]:
    bad = [(f, f.fp16 if format == "fp16" else f.bf16) for f in findings]
    bad = [(f, level) for f, level in bad if level in ("certain", "possible")]
    for finding, level in bad[:_SAID]:
        said = f"{format} {level}: {finding.node} ({finding.op}): {finding.reason}"
        if format == "fp16":
            proof = "confirmed" if finding.confirmed else "not confirmed"
            said += f" ({proof} by an FP16 run); it stays FP32" + ("" if finding.bf16 else ", BF16 is safe")
        yield said
    if len(bad) > _SAID:
        yield f"{format}: {len(bad) - _SAID} more findings; fewbits inspect lists them"
