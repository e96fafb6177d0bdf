"""``convert``: a model in, a simplified one out, in FP32, FP16 or BF16, with proof that it computes the same."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import onnx_ir as ir

from fewbits import frontends, hazards
from fewbits.engines import ENGINES, Engine, Options
from fewbits.engines.ir_file import save_ir
from fewbits.errors import EngineError, FewbitsError, InputError
from fewbits.files import check_name, whole_folder
from fewbits.graph import queries
from fewbits.graph.files import file_bytes, save_onnx
from fewbits.numerics import NoiseSum
from fewbits.passes import simplify
from fewbits.passes.records import Converted
from fewbits.passes.to_half import compute_fp16, store_half
from fewbits.progress import Progress
from fewbits.verbs.inputs import about
from fewbits.verbs.target import resolve

# Outputs must agree with the original's to this many dB. FP32 rewrites reorder sums, FP16 keeps 11 bits of
# mantissa and BF16 8; networks of a hundred layers lose a few bits more.
_LEAST_SQNR_DB = {"fp32": 60.0, "fp16": 30.0, "bf16": 15.0}
_TRIALS = 3
# One input of a gigabyte; more is a slip of the keyboard.
_MOST_NUMBERS = 1 << 28


class ConversionError(FewbitsError):
    """The converted model computes something else than the original."""


def convert(
    model: str | Path,
    *,
    out: str | Path,
    to: str | None = None,
    device: str | None = None,
    input_shapes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Converted:
    """Simplify a model and write it as ``.onnx`` or OpenVINO ``.xml``.

    FP16 as ONNX computes in FP16 between FP32 inputs and outputs; FP16 as IR, and BF16, store the weights in
    16 bits and leave it to the engine what to compute in.

    Args:
        to: fp32, fp16 or bf16; without it what the device takes, fp32 where none is named.
        device: the one the file is for; a retired one (MYRIAD, HDDL, …) gets FP16 IR and a warning.
        input_shapes: fixes free sizes, each as ``name:1,3,224,224``.

    Raises:
        InputError: the model or an option is wrong, or ``out`` cannot be written.
        ConversionError: the result does not compute what the original does.
    """
    progress = progress or Progress()
    out, path = Path(out), Path(model)
    check_name(out)
    if out.suffix not in (".onnx", ".xml"):
        raise InputError(f"'{out}' is neither .onnx nor .xml", where="-o", fix="name OUT.onnx or OUT.xml")
    to = resolve(device, to, out, progress)
    if to not in _LEAST_SQNR_DB:
        raise InputError(f"unknown format '{to}'", where="--to", fix=f"one of {', '.join(_LEAST_SQNR_DB)}")
    if out.resolve() == path.resolve():
        raise InputError("this is the model itself", where=str(out), fix="name another file with -o")
    progress.step("reading the model")
    original = frontends.load(path)
    fix_shapes(original, input_shapes)
    progress.step("simplifying")
    simple = simplify(original)
    is_ir = out.suffix == ".xml"
    made = _to(simple, to, is_ir=is_ir)
    progress.step("checking against the original")
    with whole_folder(out) as scratch:
        # What is checked is the file itself; it moves to its place only if it computes the same.
        target = scratch / out.name
        try:
            with about(path):
                if is_ir:
                    save_ir(made, target, fp16=to == "fp16")
                else:
                    save_onnx(made, target)
                noise = _compare(original, target, ENGINES["openvino" if is_ir else "onnxruntime"])
        except EngineError as error:
            if input_shapes:
                raise InputError(error.what, where="--input-shape", fix="give sizes this model can take") from error
            raise
        _accept(noise, to, out)
    return Converted(
        out,
        to,
        file_bytes(path),
        file_bytes(out),
        len(original.graph),
        len(simple.graph),
        noise.sqnr_db,
        noise.max_abs,
    )


def _to(model: ir.Model, to: str, *, is_ir: bool) -> ir.Model:
    if to == "bf16":
        return store_half(model, ir.DataType.BFLOAT16)
    if to == "fp16" and not is_ir:
        return compute_fp16(model, keep=hazards.unsafe_nodes(hazards.check(model)))
    return model


def fix_shapes(model: ir.Model, texts: tuple[str, ...]) -> None:
    """Give inputs fixed sizes, each text as ``name:1,3,224,224``.

    Raises:
        InputError: not of that form, no such input, or another rank.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    inputs = {value.name: value for value in model.graph.inputs}
    for text in texts:
        match = re.fullmatch(r"(.+):(\d+(?:,\d+)*)", text)
        if match is None:
            raise InputError(f"'{text}' is no input shape", where="--input-shape", fix="write name:1,3,224,224")
        name, sizes = match[1], [int(size) for size in match[2].split(",")]
        if name not in inputs:
            raise InputError(
                f"the model has no input '{name}'",
                where="--input-shape",
                fix=f"it has {', '.join(map(str, inputs))}",
            )
        rank = queries.dims(inputs[name])
        if rank is not None and len(rank) != len(sizes):
            raise InputError(
                f"'{name}' has {len(rank)} dimensions, not {len(sizes)}",
                where="--input-shape",
                fix=f"give {len(rank)} sizes",
            )
        if not 0 < math.prod(sizes) <= _MOST_NUMBERS:
            raise InputError(
                f"'{text}' holds {math.prod(sizes)} numbers", where="--input-shape", fix=f"1 to {_MOST_NUMBERS}"
            )
        inputs[name].shape = ir.Shape(sizes)
    if not texts:
        return
    for node in model.graph:
        for value in node.outputs:
            value.shape = None  # inferred for other sizes
    try:
        ShapeInferencePass()(model)
    except Exception as error:  # whatever inference makes of sizes that contradict each other
        raise InputError(
            "the model cannot take these sizes", where="--input-shape", fix="give sizes this model can take"
        ) from error


def _compare(original: ir.Model, made: ir.Model | Path, engine: Engine) -> NoiseSum:
    """Outputs on seeded random input of both, the original on ONNX Runtime."""
    options = Options()
    noise = NoiseSum()
    rng = np.random.default_rng(0)
    base, other = ENGINES["onnxruntime"].compile(original, options), engine.compile(made, options)
    for _ in range(_TRIALS):
        feed = {
            spec.name: (
                rng.standard_normal(spec.single) if spec.dtype.kind == "f" else rng.integers(0, 2, spec.single)
            ).astype(spec.dtype)
            for spec in base.inputs
        }
        expected, got = base.run(feed), other.run(feed)
        for name, array in expected.items():
            noise.add(array, got[name])
    return noise


def _accept(noise: NoiseSum, to: str, out: Path) -> None:
    if not noise.sqnr_db >= _LEAST_SQNR_DB[to]:
        raise ConversionError(
            f"the {to} model deviates from the original: {noise.sqnr_db:.1f} dB, largest difference {noise.max_abs:g}",
            where=str(out),
            fix="convert to bf16 or fp32" if to == "fp16" else "report this model",
        )
