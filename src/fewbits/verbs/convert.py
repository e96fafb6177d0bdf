"""``convert``: a model in, a simplified one out, in FP32, FP16 or BF16, with proof that it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits import frontends, hazards
from fewbits.data import stream, take
from fewbits.engines import ENGINES, TRIALS, Arrays
from fewbits.engines.ir_file import save_ir
from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.files import check_name, whole_folder
from fewbits.frontends.source import Source
from fewbits.garbage import collect
from fewbits.graph import queries
from fewbits.graph.files import file_bytes, release, save_onnx
from fewbits.graph.vocabulary import vocabulary
from fewbits.measurement.conversion import Converted
from fewbits.measurement.deviation import (
    SIGNIFICANT_BITS,
    Deviation,
    deviation,
    least_sqnr_db,
    least_when_shaken,
    random_feeds,
    run_all,
    shaken,
)
from fewbits.passes import simplify
from fewbits.passes.fix_shapes import fix_shapes
from fewbits.passes.half_io import half_io
from fewbits.passes.rounded import rounded
from fewbits.passes.to_half import compute_fp16, overflowing, store_half
from fewbits.progress import Progress
from fewbits.verbs.inputs import DataOptions, about, check_kept, open_model, open_test_data
from fewbits.verbs.target import resolve

_TRIALS = 3
_DATA_SAMPLES = 8
# Ranges settle within a few dozen samples.
_RANGE_SAMPLES = 64
# An FP16 file whose FP32 twin, with a rounding behind every operator, is not run any more.
_MOST_BYTES = 1 << 29


class ConversionError(FewbitsError):
    """The converted model computes something else than the original.

    In FP32 that is a fault of the rewrites (exit code 1); in FP16 and BF16 the model does not fit the format asked
    for, and another one is the remedy (exit code 2).
    """

    def __init__(self, what: str, to: str, where: str) -> None:
        fixes = {"fp16": "convert to bf16 or fp32", "bf16": "convert to fp32", "fp32": "report this model"}
        super().__init__(what, where=where, fix=fixes[to])
        self.exit_code = 1 if to == "fp32" else 2


@dataclass(frozen=True)
class _Proof:
    """What the result is checked on, by name, what the check asks for in dB, and how to read the original again."""

    feeds: dict[str, list[Arrays]]
    least_db: float
    read: Callable[[], ir.Model]


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
    path = source.path
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

    original = read()
    nodes_before = len(original.graph)
    progress.step("simplifying")
    simple = simplify(original)
    nodes_after = len(simple.graph)
    proof = _Proof(_feeds(original, data, progress), least_sqnr_db(to, simple), read)
    is_ir = out.suffix == ".xml"
    # The proof is about the file as it was given, where an engine can read it and nothing was asked to change.
    truth: ir.Model | Path = path if path.suffix == ".onnx" and not input_shapes else original
    with whole_folder(out) as scratch:
        # What is checked is the file itself; it moves to its place only if it computes the same.
        target = scratch / out.name
        try:
            with about(path):
                made = _to(simple, to, _hazards(simple, to, data, progress), is_ir=is_ir, keep_io=keep_io)
                if is_ir:
                    save_ir(made, target, fp16=to == "fp16" and made is simple, half_io=not keep_io)
                else:
                    save_onnx(made, target)
                # Gigabytes of weights are not held beside an engine's copy of them.
                release(original)
                del original, simple, made
                collect()
                progress.step("checking against the original")
                deviations = _check(truth, target, to, proof, progress)
        except EngineError as error:
            if input_shapes:
                raise InputError(error.what, where="--input-shape", fix="give sizes this model can take") from error
            raise
    worst = min(deviations, key=lambda d: d.sqnr_db)
    return Converted(
        out,
        to,
        source.size_bytes,
        file_bytes(out),
        nodes_before,
        nodes_after,
        worst.sqnr_db,
        max(d.max_abs for d in deviations),
        deviations,
    )


def _feeds(model: ir.Model, data: DataOptions | None, progress: Progress) -> dict[str, list[Arrays]]:
    inputs = queries.specs(model.graph.inputs)
    feeds = {"random": random_feeds(inputs, vocabulary(model), _TRIALS)}
    if data is not None and data.data is not None:
        dataset = open_test_data(data, inputs, progress)
        chosen = take(dataset, min(data.samples or _DATA_SAMPLES, len(dataset)), data.seed)
        feeds["data"] = [dict(sample.inputs) for sample in stream(chosen, workers=1)]
    return feeds


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


def _in_fp16_arithmetic(made: Path, feeds: list[Arrays], progress: Progress) -> list[Arrays] | None:
    """What the file gives where every operator rounds to FP16; None where that is too large to try.

    Engines on processors without FP16 arithmetic run such a file in FP32, and nothing overflows there.
    """
    if file_bytes(made) > _MOST_BYTES:
        progress.warn("the model is too large to try FP16 arithmetic here; checked is the file in FP32 arithmetic")
        return None
    return run_all(rounded(frontends.load(made)), TRIALS, feeds)


def _check(original: ir.Model | Path, made: Path, to: str, proof: _Proof, progress: Progress) -> tuple[Deviation, ...]:
    """Run both models on the same inputs; the original's session is gone before the other one's begins.

    Raises:
        ConversionError: the outputs differ by more than rounding.
    """
    found = []
    engine = ENGINES["openvino" if made.suffix == ".xml" else "onnxruntime"]
    everything = [feed for feeds in proof.feeds.values() for feed in feeds]
    try:
        expected = run_all(original, ENGINES["onnxruntime"], everything)
    except EngineError:  # the file is of an opset before 7; what the frontend made of it stands in
        expected = run_all(proof.read(), ENGINES["onnxruntime"], everything)
    got = run_all(made, engine, everything)
    if to == "fp16" and made.suffix == ".onnx":
        got = _in_fp16_arithmetic(made, everything, progress) or got
    start = 0
    for name, feeds in proof.feeds.items():
        part = slice(start, start + len(feeds))
        start += len(feeds)
        try:
            found.append(deviation(name, expected[part], got[part], whole_numbers=to == "fp32"))
        except EngineError as error:
            raise ConversionError(error.what, to, made.name) from error
        if found[-1].sqnr_db >= proof.least_db:
            continue
        moved = run_all(shaken(simplify(proof.read()), to), ENGINES["onnxruntime"], feeds)
        amplified = deviation(name, expected[part], moved, whole_numbers=to == "fp32")
        if not found[-1].sqnr_db >= least_when_shaken(amplified):
            raise ConversionError(
                f"the {to} model deviates from the original on {name} input by more than rounding: "
                f"{found[-1].sqnr_db:.1f} dB at output {found[-1].output}, largest difference {found[-1].max_abs:g}",
                to,
                made.name,
            )
        progress.warn(
            f"on {name} input this network amplifies rounding: {found[-1].sqnr_db:.1f} dB, and "
            f"{amplified.sqnr_db:.1f} dB where its weights move at random by as much as {to} rounds"
            + ("" if name == "data" else "; --data shows how it does on real input")
        )
    return tuple(found)
