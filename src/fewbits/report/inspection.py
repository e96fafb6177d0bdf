"""``inspect`` as a person and a program read it: 80 columns, the verdict last."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fewbits.hazards.records import LEVELS, Finding, HalfRun
from fewbits.inspection.records import Coverage, Inspection
from fewbits.numerics import TensorSpec

_WIDTH = 80
_SHOWN = 12
_COLOURS = {"certain": "bold red", "possible": "yellow", "information": "dim"}


def show_inspection(result: Inspection) -> None:
    """What is in the model, what can be INT8, what is dangerous in 16 bits."""
    console = Console()
    if not console.is_terminal or console.width < _WIDTH:
        console = Console(width=_WIDTH)
    facts = result.facts
    opset = f"opset {result.opset}" + (f", read as {result.read_as}" if result.read_as != result.opset else "")
    by = f", made by {result.producer}" if result.producer else ""
    console.print(Text(str(result.model), style="bold"))
    _line(console, f"read by {result.frontend}, {opset}{by}")
    for name, specs in (("in", facts.inputs), ("out", facts.outputs)):
        for spec in specs:
            _line(console, f"{name:3} {spec.name} {spec.dtype.name} {_shape(spec)}")
    _line(
        console,
        f"{facts.parameters / 1e6:.3f} M parameters in {facts.parameter_bytes / 1e6:.2f} MB (file "
        f"{result.size_bytes / 1e6:.2f} MB), {facts.macs / 1e6:.1f} M multiply-accumulates a sample"
        + (f", without {facts.unknown_sizes} nodes of unknown sizes" if facts.unknown_sizes else ""),
    )
    _line(console, f"{facts.nodes} nodes: " + ", ".join(f"{op} {count}" for op, count in facts.operators.items()))
    _title(console, "INT8")
    for entry in result.coverage:
        _coverage(console, entry)
    _title(console, "FP16 and BF16")
    for finding in result.findings[:_SHOWN]:
        _finding(console, finding, result.run)
    if len(result.findings) > _SHOWN:
        _line(console, f"and {len(result.findings) - _SHOWN} more; all of them with --json")
    for sentence in verdict(result):
        _line(console, sentence, "bold")


def _line(console: Console, text: str, style: str = "", indent: int = 2) -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _shape(spec: TensorSpec) -> str:
    return "[" + ",".join("N" if size is None else str(size) for size in spec.shape) + "]"


def _coverage(console: Console, entry: Coverage) -> None:
    if entry.note:
        _line(console, f"{entry.engine}: {entry.note}")
        return
    _line(console, f"{entry.engine}: {entry.share:.1%} of the multiply-accumulates, {entry.integer} nodes")
    for reason, nodes in entry.reasons.items():
        shown = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        _line(console, f"float: {shown}: {reason}", "dim", 4)


def _finding(console: Console, finding: Finding, run: HalfRun | None) -> None:
    style = _COLOURS[finding.level]
    _line(console, f"{finding.level}: {finding.node} ({finding.op}), {finding.verdict}", style)
    _line(console, f"{finding.reason}.", indent=4)
    _line(console, f"To do: {finding.fix}{_confirmation(finding, run)}.", "dim", 4)


def _confirmation(finding: Finding, run: HalfRun | None) -> str:
    if run is None or finding.confirmed is None or finding.fp16 is None:
        return ""
    if finding.confirmed:
        return "; confirmed by an FP16 run"
    return "; not confirmed by an FP16 run" if run.given else "; random input does not show it"


def verdict(result: Inspection) -> list[str]:
    """The sentences that sum up: findings by level, what the run showed, what to do."""
    counts = {level: sum(f.level == level for f in result.findings) for level in LEVELS}
    source = f"ranges from {result.samples} samples" if result.samples else "without data: give --data for ranges"
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count) or "no hazard found"
    sentences = [f"{said} ({source})."]
    run = result.run
    if run is not None:
        on = f"{run.samples} sample{'s' if run.samples > 1 else ''}" if run.given else "random input"
        state = "sound" if run.survives else "wrong"
        sentences.append(f"FP16 run on {on}: {state}, {run.sqnr_db:.1f} dB at the outputs{_first(run)}.")
    bf16 = any(f.bf16 in ("certain", "possible") for f in result.findings)
    if result.keep:
        rest = "" if result.mixed is None else f": {result.mixed.sqnr_db:.1f} dB"
        sentences.append(f"With {len(result.keep)} of {result.nodes} nodes in FP32 and the others in FP16{rest}.")
        if not bf16:
            sentences.append("BF16 is safe where FP16 is not: it has FP32's range.")
    if bf16:
        sentences.append("BF16 loses whole numbers or small differences as said above.")
    return sentences


def _first(run: HalfRun) -> str:
    if run.first_wild is not None:
        return f"; {run.first_wild.node} is the first to overflow"
    if run.first_off is not None:
        return f"; {run.first_off.node} is the first to deviate ({run.first_off.sqnr_db:.1f} dB)"
    return ""


def inspection_json(result: Inspection) -> dict[str, Any]:
    """Everything, for ``inspect --json``."""
    facts = result.facts
    return {
        "model": str(result.model),
        "frontend": result.frontend,
        "producer": result.producer,
        "opset": result.opset,
        "read_as_opset": result.read_as,
        "size_bytes": result.size_bytes,
        "inputs": [_spec(spec) for spec in facts.inputs],
        "outputs": [_spec(spec) for spec in facts.outputs],
        "operators": dict(facts.operators),
        "nodes": facts.nodes,
        "parameters": facts.parameters,
        "parameter_bytes": facts.parameter_bytes,
        "macs": facts.macs,
        "nodes_of_unknown_size": facts.unknown_sizes,
        "int8": [
            {
                "engine": entry.engine,
                "share_of_macs": None if entry.note else entry.share,
                "nodes": entry.integer,
                "float": [{"reason": reason, "nodes": list(nodes)} for reason, nodes in entry.reasons.items()],
                "note": entry.note,
            }
            for entry in result.coverage
        ],
        "samples": result.samples,
        "hazards": [finding_json(finding) for finding in result.findings],
        "keep_fp32": list(result.keep),
        "fp16_run": _run(result.run),
        "mixed_run": _run(result.mixed),
        "warnings": list(result.warnings),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """One hazard; a format that is safe says so."""
    return asdict(finding) | {
        "level": finding.level,
        "fp16": finding.fp16 or "safe",
        "bf16": finding.bf16 or "safe",
        "keep": list(finding.keep),
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "type": spec.dtype.name}


def _run(run: HalfRun | None) -> dict[str, Any] | None:
    return None if run is None else asdict(run) | {"troubled": sorted(run.troubled)}
