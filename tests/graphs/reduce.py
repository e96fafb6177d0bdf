"""Make a failing graph small: steps are dropped one at a time while it still fails the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from .generator import Drawn, graph
from .judge import FORMATS, Case, NotJudgedError, Verdict, judge
from .reference import Arrays, interpret
from .steps import Step
from .values import Input

Fails = Callable[[Drawn], bool]


def reduced(seed: int, folder: Path, file: str | None = None) -> str:
    """The smallest graph found, as text, with its verdict; its file is in ``folder``."""
    drawn = graph(seed)
    first = next((v for v in _failures(drawn, folder, seed, None) if file in (None, v.file)), None)
    if first is None:
        return f"seed {seed} does not fail"

    def fails(smaller: Drawn) -> bool:
        return any(v.kind == first.kind for v in _failures(smaller, folder, seed, first.file))

    small = reduce(drawn, fails)
    small.save(folder / "reduced.onnx")
    [verdict] = [v for v in _failures(small, folder, seed, first.file) if v.kind == first.kind][:1]
    return f"seed {seed} {verdict.file} {verdict.verdict}: {verdict.why}\n{onnx.printer.to_text(small.model())}"


def reduce(drawn: Drawn, fails: Fails) -> Drawn:
    """Take the first change that still fails, until none does."""
    drawn = _as_initializers(drawn)
    smaller: Drawn | None = drawn
    while smaller is not None:
        drawn = smaller
        size = _size(drawn)
        smaller = next((d for d in _changes(drawn) if _size(d) < size and fails(d)), None)
    return drawn


def _failures(drawn: Drawn, folder: Path, seed: int, file: str | None) -> list[Verdict]:
    try:
        case = Case(drawn, folder, seed)
        found = judge(case, FORMATS if file is None else [file.split(".")[0]])
    except NotJudgedError:
        return []
    return [v for v in found if v.verdict in ("wrong", "fault") and file in (None, v.file)]


def _size(drawn: Drawn) -> tuple[int, int, int]:
    return len(drawn.steps), len(drawn.inputs), len(drawn.outputs)


def _changes(drawn: Drawn) -> Iterator[Drawn]:
    try:
        first = interpret(drawn, drawn.feed(np.random.default_rng(0), drawn.first_sizes))
        other = interpret(drawn, drawn.feed(np.random.default_rng(0), drawn.other_sizes))
    except Exception:  # what ONNX Runtime does not run is judged as nothing
        return
    for step in drawn.steps:  # an inner value as the only output
        for name in step.outputs:
            yield _pruned(drawn, drawn.steps, drawn.inputs, (name,), first)
    for name in drawn.outputs:
        if len(drawn.outputs) > 1:
            yield _pruned(drawn, drawn.steps, drawn.inputs, tuple(n for n in drawn.outputs if n != name), first)
    for index, step in enumerate(drawn.steps):
        if len(step.outputs) == 1 and step.outputs[0] not in drawn.outputs:
            cut = _input(step.outputs[0], first, other)
            rest = (*drawn.steps[:index], *drawn.steps[index + 1 :])
            if cut is not None:
                yield _pruned(drawn, rest, (*drawn.inputs, cut), drawn.outputs, first)
            for name in step.inputs:
                if name in first and _alike(first, other, name, step.outputs[0]):
                    yield _pruned(
                        drawn,
                        tuple(_reading(s, step.outputs[0], name) for s in rest),
                        drawn.inputs,
                        drawn.outputs,
                        first,
                    )


def _alike(first: Arrays, other: Arrays, one: str, two: str) -> bool:
    return all(v[one].shape == v[two].shape and v[one].dtype == v[two].dtype for v in (first, other))


def _input(name: str, first: Arrays, other: Arrays) -> Input | None:
    """An input in the place of a value; None where it has a free size besides the batch, or is no float."""
    one, two = first[name], other[name]
    if one.dtype != np.float32 or one.shape[1:] != two.shape[1:] or not one.ndim:
        return None
    free = one.shape[0] != two.shape[0]
    if free and (one.shape[0], two.shape[0]) != (1, 3):
        return None
    return Input(name, ("N" if free else one.shape[0], *one.shape[1:]), "f32")


def _reading(step: Step, old: str, new: str) -> Step:
    """The step reading another value; bodies that capture it are left, and the graph then fails otherwise."""
    nodes = []
    for node in step.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in enumerate(copy.input):
            if name == old:
                copy.input[place] = new
        nodes.append(copy)
    return Step(nodes, step.outputs, step.functions)


def _pruned(
    drawn: Drawn, steps: tuple[Step, ...], inputs: tuple[Input, ...], outputs: tuple[str, ...], values: Arrays
) -> Drawn:
    """Without what the outputs do not need."""
    needed, kept = set(outputs), []
    for step in reversed(steps):
        if needed & set(step.outputs):
            kept.append(step)
            needed |= set(step.inputs)
    kept.reverse()
    produced = {name for step in kept for name in step.outputs}
    inputs = tuple(i for i in inputs if i.name in needed and i.name not in produced)
    initializers = tuple(t for t in drawn.initializers if t.name in needed)
    functions = tuple(f for step in kept for f in step.functions)
    known = {name: values[name] for name in (*outputs, *(i.name for i in inputs)) if name in values}
    return replace(
        drawn,
        steps=tuple(kept),
        inputs=inputs,
        outputs=outputs,
        initializers=initializers,
        functions=functions,
        known=known,
    )


def _as_initializers(drawn: Drawn) -> Drawn:
    """Constant nodes as initializers: fewer steps to look through."""
    if drawn.style.constants not in ("node", "mixed"):
        return drawn
    constants = [step for step in drawn.steps if step.nodes[0].op_type == "Constant"]
    tensors = [numpy_helper.from_array(s.run(drawn.style.opset, {})[0], s.outputs[0]) for s in constants]
    steps = tuple(step for step in drawn.steps if step not in constants)
    return replace(drawn, steps=steps, initializers=(*drawn.initializers, *tensors))
