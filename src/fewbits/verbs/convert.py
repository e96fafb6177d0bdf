"""``convert``: a model in, a simplified one out, in FP32, FP16 or BF16, with proof that it computes the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits import hazards
from fewbits.data import stream, take
from fewbits.engines import Arrays
from fewbits.engines.ir_file import save_ir
from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.files import check_name, whole_folder
from fewbits.frontends.source import Source
from fewbits.garbage import collect
from fewbits.graph import queries
from fewbits.graph.files import file_bytes, release, save_onnx
from fewbits.measurement.conversion import Converted
from fewbits.measurement.deviation import SIGNIFICANT_BITS, Rounding
from fewbits.measurement.feeds import PLAUSIBLE
from fewbits.measurement.original import Original
from fewbits.measurement.truth import Plan
from fewbits.passes import simplify
from fewbits.passes.fix_shapes import fix_shapes
from fewbits.passes.half_io import half_io
from fewbits.passes.to_half import compute_fp16, overflowing, store_half
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, about, check_kept, open_model, open_test_data
from fewbits.verbs.made import Made, RewriteError
from fewbits.verbs.proof import prove
from fewbits.verbs.target import resolve

_DATA_SAMPLES = 8
# Ranges settle within a few dozen samples.
_RANGE_SAMPLES = 64
Rewrite = Callable[[ir.Model], ir.Model]


def convert(
    model: str | Path | Source,
    *,
    out: str | Path,
    to: str | None = None,
    device: str | None = None,
    input_shapes: tuple[str, ...] = (),
    keep_io: bool = True,
    data: DataOptions | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Simplify a model and write it as ``.onnx`` or OpenVINO ``.xml``, if it computes what the original does.

    FP16 as ONNX computes in FP16; FP16 as IR, and BF16, store the weights in 16 bits and leave it to the engine what
    to compute in. The file written is run against the file given, on random input and on ``data``.

    Args:
        to: fp32, fp16 or bf16; without it what the device takes, fp32 where none is named.
        device: the one the file is for; a retired one (MYRIAD, HDDL, …) gets FP16 IR and a warning.
        input_shapes: fixes free sizes, each as ``name:1,3,224,224``.
        keep_io: False gives an FP16 model FP16 inputs and outputs; otherwise they stay FP32.
        data: real input to check on besides; eight samples of it where it does not say how many. Its ranges, on
            64 samples, decide what an FP16 model keeps in FP32.

    Raises:
        InputError: the model or an option is wrong, or ``out`` cannot be written.
        DataError: the data cannot be read or does not fit the model.
        ConversionError: the result does not compute what the original does; nothing is written.
    """
    progress = progress or Progress()
    out, source = Path(out), Source.of(model)
    check_name(out)
    if out.suffix not in (".onnx", ".xml"):
        raise InputError(f"'{out}' is neither .onnx nor .xml", where="-o", fix="name OUT.onnx or OUT.xml")
    to = resolve(device, to, out, progress)
    if to not in SIGNIFICANT_BITS:
        raise InputError(f"unknown format '{to}'", where="--to", fix=f"one of {', '.join(SIGNIFICANT_BITS)}")
    if not keep_io and to != "fp16":
        what = "FP32 has no other inputs" if to == "fp32" else "no engine here is fed BF16"
        raise InputError(what, where="--half-io", fix="use it with --to fp16")
    check_kept(out, source)

    def read() -> ir.Model:
        model = open_model(source, progress)
        fix_shapes(model, input_shapes)
        return model

    job = _Job(source, out, to, read, input_shapes, keep_io, data, progress)
    try:
        try:
            return _converted(job, simplify)
        except RewriteError as error:
            # What the rewrites are worth is no reason to hand over nothing.
            plain = _converted(job, _as_read)
            progress.warn(f"not simplified, since rewriting changed the model: {error.what}; report this model")
            return plain
    except EngineError as error:
        if input_shapes:
            raise InputError(error.what, where="--input-shape", fix="give sizes this model can take") from error
        raise InputError(error.what, where=str(source.path), fix="export it again") from error


@dataclass(frozen=True)
class _Job:
    """What was asked for, checked."""

    source: Source
    out: Path
    to: str
    read: Callable[[], ir.Model]
    input_shapes: tuple[str, ...]
    keep_io: bool
    data: DataOptions | None
    progress: Progress

    @property
    def is_ir(self) -> bool:
        return self.out.suffix == ".xml"

    def plan(self, model: ir.Model) -> Plan:
        """What to feed the original, as far as its frontend's reading tells."""
        specs, outputs = queries.specs(model.graph.inputs), model.graph.outputs
        feeds: list[Arrays] = []
        if self.data is not None and self.data.data is not None:
            dataset = open_test_data(self.data, specs, self.progress)
            chosen = take(dataset, min(self.data.samples or _DATA_SAMPLES, len(dataset)), self.data.seed)
            feeds = [dict(sample.inputs) for sample in stream(chosen, workers=1)]
        # The file as it was given takes other sizes only where they are declared free.
        shapes = {spec.name: spec.single for spec in specs if None not in spec.shape} if self.input_shapes else {}
        names = tuple(spec.name for spec in specs), tuple(value.name or "" for value in outputs)
        return Plan.of(Original(self.source.path, self.read, *names, shapes), model, feeds)


def _as_read(model: ir.Model) -> ir.Model:
    return model


def _converted(job: _Job, rewrite: Rewrite) -> Converted:
    """Write the file and move it to its place once it is proved.

    Raises:
        RewriteError: what ``rewrite`` made is something else, or nothing at all.
        ConversionError: the format or the engine makes something else of it.
    """
    path, to, out = job.source.path, job.to, job.out
    model = job.read()
    nodes_before, plan = len(model.graph), job.plan(model)
    job.progress.step("simplifying")
    simple = _rewritten(rewrite, model, out)
    nodes_after = len(simple.graph)
    # What is checked is the file itself; it moves to its place only if it computes the same.
    with whole_folder(out) as scratch, tempfile.TemporaryDirectory(prefix="fewbits-") as folder, about(path):
        made = Made(scratch / out.name, Path(folder) / "rewritten.onnx", to, Rounding.of(simple))
        _write(job, simple, made)
        # Gigabytes of weights are not held beside an engine's copy of them.
        release(model)
        del model, simple
        collect()
        job.progress.step("checking against the original")
        truth, deviations = prove(plan, made, lambda: rewrite(job.read()), job.progress)
    usual = [d for d in deviations if d.inputs in PLAUSIBLE] or deviations
    return Converted(
        out,
        to,
        job.source.size_bytes,
        file_bytes(out),
        nodes_before,
        nodes_after,
        min((d.sqnr_db for d in usual), default=float("nan")),
        max((d.max_abs for d in usual), default=float("nan")),
        tuple(deviations),
        truth,
    )


def _rewritten(rewrite: Rewrite, model: ir.Model, out: Path) -> ir.Model:
    try:
        return rewrite(model)
    except FewbitsError:
        raise
    except Exception as error:  # a rewrite, ours or a library's, met a graph that it was not made for
        raise RewriteError(f"a rewrite failed: {type(error).__name__}: {error}", out.name) from error


def _write(job: _Job, simple: ir.Model, made: Made) -> None:
    """Write the result, and beside it the model it was made of where that is tried by itself."""
    findings = _hazards(simple, job.to, job.data, job.progress)
    half = _to(simple, job.to, findings, is_ir=job.is_ir, keep_io=job.keep_io)
    if half is not simple and made.tries_rewrites(simple):
        save_onnx(simple, made.rewritten)
    if not job.is_ir:
        save_onnx(half, made.file)
        return
    if half is simple:
        save_onnx(simple, made.rewritten)
    try:
        compressed = job.to == "fp16" and half is simple
        save_ir(made.rewritten if half is simple else half, made.file, fp16=compressed, half_io=not job.keep_io)
    except EngineError as error:
        raise InputError(error.what, where=str(job.source.path), fix=f"write {job.out.stem}.onnx") from error


def _hazards(model: ir.Model, to: str, data: DataOptions | None, progress: Progress) -> tuple[hazards.Finding, ...]:
    """Where 16 bits go wrong: by the ranges on the data where there are some, else by the graph alone."""
    if to == "fp32":
        return ()
    if data is None or data.data is None:
        return hazards.check(model)
    dataset = open_test_data(data, queries.specs(model.graph.inputs), Progress())
    chosen = take(dataset, min(data.samples or _RANGE_SAMPLES, len(dataset)), data.seed)
    return hazards.judged(model, stream(chosen, workers=1), progress)


def _to(model: ir.Model, to: str, findings: tuple[hazards.Finding, ...], *, is_ir: bool, keep_io: bool) -> ir.Model:
    """The model in the format asked for; itself where it is FP32, or OpenVINO can compress it when it writes it."""
    if to == "fp32":
        return model
    exact = hazards.unsafe_constants(model, findings, to)
    if to == "bf16":
        return store_half(model, ir.DataType.BFLOAT16, exact=exact)
    if is_ir:
        # OpenVINO compresses all constants but those of which three quarters leave FP16's range; it clamps the others.
        return store_half(model, ir.DataType.FLOAT16, exact=exact) if exact or overflowing(model) else model
    half = compute_fp16(model, keep=hazards.unsafe_nodes(findings))
    return half if keep_io else half_io(half)
