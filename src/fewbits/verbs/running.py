"""Which engines run a model as it was given: tried in a process of their own, before anything is built for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from fewbits.data import Sample
from fewbits.engines import TRIALS, Engine, Options
from fewbits.engines.child import try_in_child
from fewbits.errors import FewbitsError, ModelError
from fewbits.graph.files import as_file


@dataclass(frozen=True)
class Running:
    """The engines asked for that run the model, why the others do not, and the one that tries variants of it."""

    able: tuple[Engine, ...]
    lacking: Mapping[str, str]
    trials: Engine


def running(model: ir.Model, path: str | Path, asked: Sequence[Engine], options: Options, sample: Sample) -> Running:
    """Try the model on a sample, on all engines at once; what brings an engine down does so elsewhere.

    Raises:
        ModelError: none of the engines asked for runs it.
    """
    engines = {engine.name: engine for engine in (*asked, TRIALS)}
    elsewhere = Options(threads=options.threads)

    def attempt(engine: Engine, file: Path) -> str:
        try:
            try_in_child(file, engine.name, options if engine in asked else elsewhere, sample.inputs)
        except FewbitsError as error:
            return str(error).replace(str(file), str(path))
        return ""

    with as_file(model) as file, ThreadPoolExecutor(len(engines)) as pool:
        said = dict(zip(engines, pool.map(lambda engine: attempt(engine, file), engines.values()), strict=True))
    able = tuple(engine for engine in asked if not said[engine.name])
    lacking = {engine.name: said[engine.name] for engine in asked if said[engine.name]}
    if not able:
        raise ModelError(
            "no engine that was asked for runs it: " + "; ".join(f"{name}: {why}" for name, why in lacking.items()),
            where=str(path),
            fix="export it with operators that an engine here has",
        )
    return Running(able, lacking, able[0] if said[TRIALS.name] else TRIALS)
