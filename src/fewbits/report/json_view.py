"""Records as JSON, with the keys others rely on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from fewbits.devices.host import Host
from fewbits.measurement.comparison import Comparison, LayerComparison
from fewbits.measurement.conversion import Converted
from fewbits.measurement.records import Measurement, Measurements
from fewbits.quantization.records import Calibrated
from fewbits.selection.front import pareto_front
from fewbits.selection.records import Decision, Failed, Measured, Outcome, Refused

SCHEMA = 1


def dumps(content: Any) -> str:
    """One JSON document; numbers JSON has no word for (infinite SQNR) become null."""
    return json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n"


def finite(content: Any) -> Any:
    """The same content with null for each number JSON has no word for."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def host_json(host: Host) -> dict[str, Any]:
    """``cpu``, ``isa``, ``cores``."""
    return {"cpu": host.cpu, "isa": list(host.isa), "cores": host.cores}


def measurement_json(measurement: Measurement) -> dict[str, Any]:
    """Speed, size, memory, executed shares, accuracy."""
    accuracy, memory = measurement.accuracy, measurement.memory
    return {
        "latency_ms": measurement.timing.latency_ms if measurement.timing.samples_ms.size else None,
        "throughput_fps": measurement.timing.throughput_fps,
        "size_bytes": measurement.size_bytes,
        "peak_rss_bytes": memory.peak_bytes if memory else None,
        "executed": dict(measurement.executed),
        "accuracy": accuracy.score if accuracy else None,
        "agreement": accuracy.agreement if accuracy else None,
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    """The decision with all candidates; the file ``decision.json``."""
    budget = {key: value for key, value in asdict(decision.budget).items() if value is not None}
    return {
        "schema": SCHEMA,
        "model": decision.model,
        "metric": decision.metric,
        "budget": budget,
        "host": host_json(decision.host),
        "versions": dict(decision.versions),
        "reference": decision.reference or None,
        "chosen": decision.chosen,
        "reason": decision.reason,
        "seconds": decision.seconds,
        "files": list(decision.files),
        "warnings": list(decision.warnings),
        "candidates": [_candidate(outcome, decision) for outcome in decision.outcomes],
        "pareto_front": list(pareto_front(decision.outcomes)),
        "groups": {engine: [asdict(group) for group in groups] for engine, groups in decision.groups.items()},
    }


def _candidate(outcome: Outcome, decision: Decision) -> dict[str, Any]:
    status = {Measured: "measured", Refused: "refused", Failed: "failed"}[type(outcome)]
    entry: dict[str, Any] = {
        "name": outcome.candidate.name,
        "engine": outcome.candidate.engine,
        "formats": outcome.candidate.format,
        "status": status,
        "reason": decision.rejected.get(outcome.candidate.name, ""),
        "accuracy": None,
        "drop": None,
        "drop_interval": None,
        "agreement": None,
        "latency_ms": None,
        "throughput_fps": None,
        "size_bytes": None,
        "peak_rss_bytes": None,
        "executed": {},
        "files": [],
    }
    if entry["formats"] == "mixed":
        entry["formats"] = "int8+fp32" if outcome.candidate.precision == "f32" else "int8+bf16"
    if not isinstance(outcome, Measured):
        return entry
    measurement = outcome.measurement
    drop = measurement.accuracy.drop if measurement.accuracy else None
    return (
        entry
        | measurement_json(measurement)
        | {
            "formats": outcome.formats,
            "drop": drop.estimate if drop else 0.0,
            "drop_interval": [drop.low, drop.high] if drop else [0.0, 0.0],
            "samples": measurement.accuracy.samples if measurement.accuracy else 0,
            "round_ms": measurement.timing.round_ms.tolist(),
            "round_fps": measurement.timing.round_fps.tolist(),
            "rounds": list(measurement.timing.numbers),
            "settings": {mode: dict(s) for mode, s in measurement.settings.items()},
            "notes": list(measurement.notes),
            "files": list(outcome.files),
        }
    )


_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def calibrated_json(result: Calibrated) -> dict[str, Any]:
    """What ``calibrate --json`` prints."""
    return {
        "out": str(result.out),
        "files": [str(file) for file in result.files],
        "seconds": result.seconds,
        "peak_rss_bytes": result.peak_rss_bytes,
        "samples": result.samples,
        "method": result.recipe.method,
        "corrections": list(result.recipe.corrections),
        "sqnr_db": dict(result.sqnr_db),
        "layers": {"I8": len(result.plan.integer), "float": len(result.plan.skipped)},
        "skipped": [{"node": node, "reason": reason} for node, reason in result.plan.skipped.items()],
        "outputs": [asdict(output) for output in result.outputs],
        "judged": result.judged,
        "aside": result.aside,
        "reference": result.reference,
    }


def measurements_json(result: Measurements) -> dict[str, Any]:
    """What ``measure --json`` prints."""
    return {
        "host": host_json(result.host),
        "models": [
            {
                "path": str(model.model),
                "engine": model.subject.engine,
                "device": model.subject.device,
                "precision": _PRECISIONS[model.subject.precision],
                "metric": model.measurement.accuracy.metric if model.measurement.accuracy else None,
            }
            | measurement_json(model.measurement)
            for model in result.models
        ],
    }


def converted_json(result: Converted) -> dict[str, Any]:
    """What ``convert --json`` prints."""
    return {key: str(value) if key == "out" else value for key, value in asdict(result).items()}


def comparison_json(result: Comparison) -> dict[str, Any]:
    """What ``compare --json`` prints."""

    def layer(entry: LayerComparison) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(entry).items()}

    return {
        "reference": str(result.reference),
        "other": str(result.other),
        "samples": result.samples,
        "only_in_reference": result.only_in_reference,
        "outputs": [layer(entry) for entry in result.outputs],
        "layers": [layer(entry) for entry in result.layers],
        "worst": [entry.node for entry in result.worst()],
    }
