"""A few lines of Python that run the chosen file the way it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewbits.report.story import Choice, Entry
from fewbits.report.words import engine_name
from fewbits.selection.asked import AskedInput


@dataclass(frozen=True)
class Snippet:
    """Code for one engine; ``note`` says whether this is how it was measured."""

    engine: str
    code: str
    note: str


def snippets(choice: Choice, device: str, inputs: Sequence[AskedInput]) -> tuple[Snippet, ...]:
    """For OpenVINO and for ONNX Runtime, the chosen engine first; empty where nothing is to deploy."""
    entry = choice.named(choice.chosen)
    if entry is None or not choice.files:
        return ()
    code = {"openvino": _openvino, "onnxruntime": _onnxruntime}
    engines = sorted(code, key=lambda engine: engine != entry.engine)
    if choice.files[0].endswith(".xml"):
        engines = ["openvino"]
    feed = ", ".join(f"{spec.name!r}: x{index or ''}" for index, spec in enumerate(inputs)) or "'input': x"
    return tuple(
        Snippet(
            engine_name(engine),
            code[engine](choice.files[0], device, _settings(choice, entry) if engine == entry.engine else {}, feed),
            "as it was measured"
            if engine == entry.engine
            else "the file runs here too, but its speed was not measured so",
        )
        for engine in engines
    )


def _settings(choice: Choice, entry: Entry) -> Mapping[str, str]:
    mode = "throughput" if choice.budget.objective == "throughput" else "latency"
    return entry.settings.get(mode, {})


def _openvino(file: str, device: str, settings: Mapping[str, str], feed: str) -> str:
    config = f", {dict(settings)!r}" if settings else ""
    return (
        f"import openvino as ov\n\n"
        f"model = ov.Core().compile_model({file!r}, {device!r}{config})\n"
        f"result = model({{{feed}}})"
    )


def _onnxruntime(file: str, device: str, settings: Mapping[str, str], feed: str) -> str:  # noqa: ARG001
    provider = settings.get("provider", "CPUExecutionProvider")
    threads = settings.get("intra_op_num_threads")
    options = "options = ort.SessionOptions()\n" + (
        f"options.intra_op_num_threads = {int(threads)}\n" if threads else ""
    )
    return (
        f"import onnxruntime as ort\n\n{options}"
        f"model = ort.InferenceSession({file!r}, options, providers=[{provider!r}])\n"
        f"result = model.run(None, {{{feed}}})"
    )
