"""Which candidates there are for the engines and formats asked for; the impossible ones are refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fewbits.engines import Engine
from fewbits.errors import InputError
from fewbits.quantization.recipe import Recipe
from fewbits.selection.records import FORMATS, Candidate, Refused

_NAMES = {"mixed": "int8+bf16"}


def check_known(formats: Sequence[str]) -> None:
    """Raise ``InputError`` that lists the formats where one of these is none."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"unknown format '{unknown[0]}'", where="--formats", fix=f"some of {', '.join(FORMATS)}")


def candidates(
    asked: Sequence[Engine],
    formats: Sequence[str],
    device: str,
    recipe: Recipe,
    impossible: Mapping[str, str] | None = None,
) -> tuple[list[Candidate], list[Refused]]:
    """All candidates, FP32 first; FP32 is always among them, since it is what the others are held against.

    - fp16: weights in FP16. Executed in FP16 where the device computes in it, else in FP32: half the file.
    - bf16: the FP32 file executed in BF16.
    - int8: INT8 kernels, the rest in FP32.
    - mixed: INT8 kernels, the rest in BF16.

    Args:
        impossible: format → why the device cannot run it, whatever the engine.
    """
    never = dict(impossible or {})
    if reason := never.get("int8") or never.get("bf16"):
        never["mixed"] = f"INT8 with BF16 for the rest: {reason}"
    check_known(formats)
    found: list[Candidate] = []
    refused: list[Refused] = []
    for name in [f for f in FORMATS if f in formats or f == "fp32"]:
        for engine in asked:
            if name in never and name != "fp32":
                stem = f"{engine.name}-{_NAMES.get(name, name)}"
                refused.append(Refused(Candidate(stem, engine.name, name, "f32"), never[name]))
                continue
            no_bf16 = engine.refuses("bf16", device)
            match name:
                case "fp32":
                    found.append(Candidate(f"{engine.name}-fp32", engine.name, name, "f32"))
                case "fp16":
                    precision = "f32" if engine.refuses("f16", device) else "f16"
                    found.append(Candidate(f"{engine.name}-fp16", engine.name, name, precision))
                case "bf16":
                    candidate = Candidate(f"{engine.name}-bf16", engine.name, name, "bf16")
                    if no_bf16:
                        refused.append(Refused(candidate, no_bf16))
                    else:
                        found.append(candidate)
                case "int8":
                    found.append(Candidate(f"{engine.name}-int8", engine.name, name, "f32", recipe))
                case _:
                    candidate = Candidate(f"{engine.name}-int8+bf16", engine.name, name, "bf16", recipe)
                    if no_bf16:
                        refused.append(Refused(candidate, f"INT8 with BF16 for the rest: {no_bf16}"))
                    else:
                        found.append(candidate)
    return found, refused
