"""Sentences of verbs and engines, without what belongs to one graph: failures of a kind are counted together."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_PLACES = (
    (r"\S*graph\.onnx: |\S*(fp32|fp16|bf16)\.(onnx|xml): ", ""),
    (r"\(/[^()]*\)|\S*/\S*/\S*", "…"),
    (r"(while running \w+).*", r"\1"),
    (r"wasn't fully converted\..*", "wasn't fully converted"),
    (r"-?(inf|\d+\.\d+) dB at \S+", "# dB"),
    (
        r"\b(input|output|node|Name:|name|value|shape of|of input|array|definition of) ('[^']*'|\(\S*\)|[\w./:-]+)",
        r"\1 …",
    ),
    (r"--input-shape \S+", "--input-shape …"),
    (r"\[[\d, N]*\]", "[…]"),
    (r"-?\d+(\.\d+)?(e-?\d+)?", "#"),
)


def bucket(why: str) -> str:
    """A sentence without names, numbers and shapes."""
    for pattern, text in _PLACES:
        why = re.sub(pattern, text, why)
    return why[:170]


def line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def place(error: BaseException) -> str:
    """The last line of fewbits itself in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "fewbits" in f.filename] or frames
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno} {own[-1].name}"
