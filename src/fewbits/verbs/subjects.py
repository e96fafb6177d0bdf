"""What ``measure`` measures of each model: a file that the engine reads, on every engine asked for."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from fewbits import frontends
from fewbits.engines import ENGINES
from fewbits.engines.ir_file import check_ir
from fewbits.errors import InputError
from fewbits.frontends.identify import identify
from fewbits.frontends.kinds import Kind
from fewbits.frontends.source import Source
from fewbits.graph import queries
from fewbits.graph.files import save_onnx
from fewbits.measurement.records import Subject
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, check_model, check_tensors, open_model
from fewbits.verbs.place import Place


def subjects(
    source: Source,
    engine: str,
    where: Place,
    precision: str,
    threads: int | None,
    folder: Path,
    progress: Progress,
    data: DataOptions | None = None,
) -> list[Subject]:
    """One model on the engines asked for; all but ONNX files, and IR on OpenVINO, are converted to ONNX first.

    Args:
        engine: as asked for; ``all`` means OpenVINO for an IR.
        data: what the models will be fed with; sizes besides the batch that an ONNX file leaves free become its sizes.
        folder: where converted models go; it has to stay until everything is measured.

    Raises:
        ModelError: the model cannot be read.
        InputError: none of the engines can do what was asked.
    """
    path, names = _file(source, engine, folder, progress, data), [known.name for known in where.engines]
    if path.suffix.lower() == ".xml":
        ENGINES["openvino"].check_device(where.device)
        names = ["openvino"]
    found = []
    for name in names:
        refusal = ENGINES[name].refuses(precision, where.device)
        if refusal and engine == "all" and len(names) > 1:
            continue
        if refusal:
            raise InputError(refusal, where="--precision", fix="use f32")
        subject = Subject(f"{source.name} on {name}", path, name, precision, where.device, threads, where.extra)
        found.append(subject)
    if not found:
        every = ", ".join(sorted({d for n in names for d in ENGINES[n].devices()}))
        raise InputError(
            f"no engine runs {precision} on {where.device} here",
            where="--device and --precision",
            fix=f"there is {every}, and f32 runs everywhere",
        )
    return found


def _file(source: Source, engine: str, folder: Path, progress: Progress, data: DataOptions | None) -> Path:
    """A file that engines read: the one given, or what its frontend makes of it."""
    kind = identify(source.path)
    if kind is Kind.OPENVINO and engine != "onnxruntime":
        check_ir(source.path)
        return source.path
    if kind is Kind.ONNX and source.path.suffix.lower() == ".onnx":
        model = frontends.load(source)  # refuses what is no model, before an engine does in its own words
        check_tensors(model, source.path)
        free = any(None in spec.shape[1:] for spec in queries.specs(model.graph.inputs))
        if not (free and data is not None and data.data is not None):
            return source.path
        model = ir.load(source.path)
    else:
        model = open_model(source, progress)
    if data is not None and data.data is not None:
        check_model(model, source.path, data, progress)
    path = folder / str(len(list(folder.iterdir()))) / "model.onnx"
    save_onnx(model, path)
    return path
