"""The command line that does a piece of work again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from fewbits.frontends.source import Source
from fewbits.verbs.inputs import DataOptions


def command_line(verb: str, source: Source, data: DataOptions, **options: object) -> str:
    """``fewbits choose model.onnx --data val.csv …``; what is None, empty or false is left out.

    Args:
        options: by name; ``max_drop=0.01`` becomes ``--max-drop 0.01``, a tuple one option for each part.
    """
    words = ["fewbits", verb, str(source.path)]
    model = {"weights": source.weights, "random_weights": source.random_weights}
    given = {f.name: getattr(data, f.name) for f in fields(data) if getattr(data, f.name) != f.default}
    for name, value in (model | given | options).items():
        flag = f"--{name.replace('_', '-')}"
        for part in value if isinstance(value, tuple) else (value,):
            if part is True:
                words.append(flag)
            elif isinstance(part, str | int | float | Path) and part is not False and part != "":
                words += [flag, f"{part:g}" if isinstance(part, float) else str(part)]
    return shlex.join(words)
